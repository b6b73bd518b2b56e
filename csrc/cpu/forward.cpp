// Draws tile by tile: instances front to back in the outer loop, pixels in the inner one, and what the pixels have
// gathered stays in the first-level cache.
#include <algorithm>

#include "binning.h"
#include "parallel.h"

namespace diffbmp::cpu {
namespace {

constexpr int kGlance = 8;  // instances between two looks at whether the tile is opaque

template <typename T, int C>
struct Block {
  using V = Lanes<T>;
  V color[C], transmittance;
  typename V::Integers last;
};

template <typename T, int C, bool kMapped>
void draw(const Bitmaps<T>& bitmaps, const Instances<T>& instances, const Placement<T> place, int32_t i,
          const Tile& tile, Blocks<Block<T, C>>* blocks) {
  using V = Lanes<T>;
  using I = typename V::Integers;
  Footprint<T> foot;
  find_footprint(place, tile, &foot);
  const T* const texels = bitmaps.texels;
  const int64_t plane = bitmaps.texel_count;
  const T mu_blend = place.mu_blend;
  T tint[C];
  for (int c = 0; c < C; ++c) tint[c] = (1 - mu_blend) * instances.color[C * i + c];

  for (int row = foot.first_row; row < foot.end_row; ++row) {
    for (int column = foot.first[row] & -V::kCount; column < foot.end[row]; column += V::kCount) {
      Block<T, C>& block = blocks->rows[row][column / V::kCount];
      const V dx = foot.dx[column / V::kCount];
      const Cell<V> cell = cell_at(place, madd(V(place.ax), dx, V(foot.x[row])), madd(V(place.ay), dx, V(foot.y[row])));
      const V mask = bilinear(load(texels + C * plane, cell.texel, place.stride), cell.fx, cell.fy).value;
      const I shines = block.transmittance >= V(static_cast<T>(kOpaque));
      const V opacity = select(shines, V(place.opacity), V(0));
      const V weight = block.transmittance * opacity;
#pragma GCC unroll 4
      for (int c = 0; c < C; ++c) {
        if constexpr (kMapped) {
          const V mapped = bilinear(load(texels + c * plane, cell.texel, place.stride), cell.fx, cell.fy).value;
          block.color[c] = madd(weight, madd(V(tint[c]), mask, mu_blend * mapped), block.color[c]);
        } else {
          block.color[c] = madd(weight * mask, V(tint[c]), block.color[c]);
        }
      }
      // 1 - o M = (1 - o) + o (1 - M)
      const V through = madd(opacity, 1 - mask, select(shines, V(place.clearness), V(1)));
      block.transmittance = block.transmittance * through;
      block.last = select(shines, I(i), block.last);
    }
  }
}

template <typename T, int C>
bool opaque(const Blocks<Block<T, C>>& blocks) {
  using V = Lanes<T>;
  V most = 0;
  for (const auto& row : blocks.rows) {
    for (const Block<T, C>& block : row) most = larger(most, block.transmittance);
  }
  return all(most < V(static_cast<T>(kOpaque)));
}

template <typename T, int C>
void draw_tile(const Bitmaps<T>& bitmaps, const Instances<T>& instances, const Canvas& canvas, const Tiles<T>& tiles,
               int64_t index, const Image<T>& out) {
  const Tile tile = tiles.tile(index);
  Blocks<Block<T, C>> blocks{};
  for (auto& row : blocks.rows) {
    for (Block<T, C>& block : row) block.transmittance = 1;
  }

  const auto list = tiles.list(index);
  for (const int32_t* i = list.end; i-- != list.begin;) {
    const Placement<T>& place = tiles.place(*i);
    const auto run = place.mu_blend > 0 ? draw<T, C, true> : draw<T, C, false>;
    run(bitmaps, instances, place, *i, tile, &blocks);
    if ((list.end - i) % kGlance == 0 && opaque(blocks)) break;
  }

  constexpr int kPixels = Blocks<Block<T, C>>::kPixels;
  for (int64_t row = 0; row < tile.height; ++row) {
    for (int64_t column = 0; column < tile.width; column += kPixels) {
      const Block<T, C>& block = blocks.rows[row][column / kPixels];
      const int64_t pixel = (tile.top + row) * canvas.width + tile.left + column, count = tile.width - column;
      for (int c = 0; c < C; ++c) block.color[c].store(out.color + c * canvas.height * canvas.width + pixel, count);
      block.transmittance.store(out.transmittance + pixel, count);
      block.last.store(out.last + pixel, count);
    }
  }
}

template <typename T, int C>
void draw_all(const Bitmaps<T>& bitmaps, const Instances<T>& instances, const Canvas& canvas, const Image<T>& out) {
  const Tiles<T> tiles(bitmaps, instances, canvas);
  parallel_for_each(tiles.count(),
                    [&](int64_t index) { draw_tile<T, C>(bitmaps, instances, canvas, tiles, index, out); });
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
