// Draws tile by tile: instances front to back in the outer loop, pixels in the inner one, and what the pixels have
// gathered stays in the first-level cache.
#include <algorithm>

#include "binning.h"
#include "parallel.h"

namespace diffbmp::cpu {
namespace {

constexpr int kPixels = kTile * kTile;
constexpr int kGlance = 8;  // instances between two looks at whether the tile is opaque

template <typename T, int C>
struct alignas(64) TileImage {
  T color[C][kPixels];
  T transmittance[kPixels];
  int32_t last[kPixels];
};

template <typename T, int C, bool kMapped>
void draw(const Bitmaps<T>& bitmaps, const Instances<T>& instances, const Placement<T> place, int32_t i, T mu_blend,
          int64_t left, int64_t top, TileImage<T, C>* tile) {
  using V = Lanes<T>;
  using I = typename V::Mask;
  Footprint<T> foot;
  find_footprint(place, left, top, &foot);
  const T* const texels = bitmaps.texels;
  const int64_t plane = bitmaps.texel_count;
  T tint[C];
  for (int c = 0; c < C; ++c) tint[c] = (1 - mu_blend) * instances.color[C * i + c];

  for (int row = foot.first_row; row < foot.end_row; ++row) {
    for (int column = foot.first[row] & -V::kCount; column < foot.end[row]; column += V::kCount) {
      const int pixel = row * kTile + column;
      const V along = V::count() + static_cast<T>(column);
      const Cell<V> cell =
          cell_at(place, madd(V(place.ax), along, V(foot.x[row])), madd(V(place.ay), along, V(foot.y[row])));
      const V mask = bilinear(load(texels + C * plane, cell.texel, place.stride), cell.fx, cell.fy).value;
      const V before = V::load(tile->transmittance + pixel);
      const I shines = before >= V(static_cast<T>(kOpaque));
      const V opacity = select(shines, V(place.opacity), V(0));
      const V weight = before * opacity;
#pragma GCC unroll 4
      for (int c = 0; c < C; ++c) {
        T* color = tile->color[c] + pixel;
        if constexpr (kMapped) {
          const V mapped = bilinear(load(texels + c * plane, cell.texel, place.stride), cell.fx, cell.fy).value;
          madd(weight, madd(V(tint[c]), mask, mu_blend * mapped), V::load(color)).store(color);
        } else {
          madd(weight * mask, V(tint[c]), V::load(color)).store(color);
        }
      }
      (before * madd(-opacity, mask, V(1))).store(tile->transmittance + pixel);
      select(shines, I(i), I::load(tile->last + pixel)).store(tile->last + pixel);
    }
  }
}

template <typename T, int C, bool kMapped>
void draw_tile(const Bitmaps<T>& bitmaps, const Instances<T>& instances, const Canvas& canvas, const Tiles<T>& tiles,
               int64_t index, const Image<T>& out) {
  const int64_t left = index % tiles.across * kTile, top = index / tiles.across * kTile;
  TileImage<T, C> tile;
  std::fill_n(tile.color[0], C * kPixels, static_cast<T>(0));
  std::fill_n(tile.transmittance, kPixels, static_cast<T>(1));
  std::fill_n(tile.last, kPixels, 0);

  const int32_t* begin = tiles.instances.data() + tiles.begin[index];
  const int32_t* end = tiles.instances.data() + tiles.begin[index + 1];
  for (const int32_t* i = end; i-- != begin;) {
    draw<T, C, kMapped>(bitmaps, instances, tiles.places[*i], *i, static_cast<T>(canvas.mu_blend), left, top, &tile);
    if ((end - i) % kGlance == 0) {
      T most = 0;
      for (int pixel = 0; pixel < kPixels; ++pixel) most = larger(most, tile.transmittance[pixel]);
      if (most < static_cast<T>(kOpaque)) break;
    }
  }

  const int64_t width = std::min<int64_t>(kTile, canvas.width - left);
  const int64_t height = std::min<int64_t>(kTile, canvas.height - top);
  const int64_t plane = canvas.height * canvas.width;
  for (int64_t row = 0; row < height; ++row) {
    const int64_t from = row * kTile, to = (top + row) * canvas.width + left;
    for (int c = 0; c < C; ++c) std::copy_n(tile.color[c] + from, width, out.color + c * plane + to);
    std::copy_n(tile.transmittance + from, width, out.transmittance + to);
    std::copy_n(tile.last + from, width, out.last + to);
  }
}

template <typename T, int C>
void draw_all(const Bitmaps<T>& bitmaps, const Instances<T>& instances, const Canvas& canvas, const Image<T>& out) {
  const Tiles<T> tiles = bin(bitmaps, instances, canvas);
  const auto run = canvas.mu_blend > 0 ? draw_tile<T, C, true> : draw_tile<T, C, false>;
  parallel_for_each(tiles.across * tiles.down,
                    [&](int64_t index) { run(bitmaps, instances, canvas, tiles, index, out); });
}

}  // namespace

template <typename T>
void render(const Bitmaps<T>& bitmaps, const Instances<T>& instances, const Canvas& canvas, const Image<T>& out) {
  switch (bitmaps.channels) {
    case 1: return draw_all<T, 1>(bitmaps, instances, canvas, out);
    case 3: return draw_all<T, 3>(bitmaps, instances, canvas, out);
    case 4: return draw_all<T, 4>(bitmaps, instances, canvas, out);
  }
}

template void render(const Bitmaps<float>&, const Instances<float>&, const Canvas&, const Image<float>&);
template void render(const Bitmaps<double>&, const Instances<double>&, const Canvas&, const Image<double>&);

}  // namespace diffbmp::cpu
