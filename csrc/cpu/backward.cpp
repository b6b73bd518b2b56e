// Gradients, tile by tile and back to front, in one pass. With g the derivative of the loss by the picture's colour and
// R the one by all that lies behind instance i, were nothing in front of it,
//     V_i = (1 - mu_i) (g . color_i) M_i + mu_i (g . S_i) - R M_i
// the loss changes by T_i V_i with o_i and by T_i o_i dV_i with the sample's place; behind the next instance in front
// lies R + o_i V_i. T_i, the transmittance before instance i, is the one behind it divided by 1 - o_i M_i.
#include <algorithm>
#include <memory>

#include "binning.h"
#include "parallel.h"

namespace diffbmp::cpu {
namespace {

template <typename T, int C>
struct Block {
  using V = Lanes<T>;
  V color[C];       // g
  V behind;         // R
  V transmittance;  // T
  typename V::Integers last;
};

// Sums over the pixels of a tile for one instance.
template <int C>
struct Sums {
  AffineGradient affine;
  double opacity;   // o T V
  double color[C];  // o T M g
};

template <typename T, int C, bool kMapped>
Sums<C> accumulate(const Bitmaps<T>& bitmaps, const Instances<T>& instances, const Placement<T> place, int32_t i,
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

  V sum_x = 0, sum_y = 0, sum_xdx = 0, sum_xdy = 0, sum_ydx = 0, sum_ydy = 0, sum_opacity = 0, sum_color[C];
  for (V& sum : sum_color) sum = 0;
  for (int row = foot.first_row; row < foot.end_row; ++row) {
    const T dy = foot.dy[row];
    const int first = foot.first[row], end = foot.end[row];
    for (int column = first & -V::kCount; column < end; column += V::kCount) {
      Block<T, C>& block = blocks->rows[row][column / V::kCount];
      const V dx = foot.dx[column / V::kCount];
      const Cell<V> cell = cell_at(place, madd(V(place.ax), dx, V(foot.x[row])), madd(V(place.ay), dx, V(foot.y[row])));
      const Quad<V> mask_quad = load(texels + C * plane, cell.texel, place.stride);
      const Sample<V> mask = bilinear(mask_quad, cell.fx, cell.fy);
      V tinted = -block.behind;
#pragma GCC unroll 4
      for (int c = 0; c < C; ++c) tinted = madd(V(tint[c]), block.color[c], tinted);
      Sample<V> value;  // V
      if constexpr (kMapped) {
        Quad<V> quad = scaled(tinted, mask_quad);
#pragma GCC unroll 4
        for (int c = 0; c < C; ++c) {
          quad = madd(mu_blend * block.color[c], load(texels + c * plane, cell.texel, place.stride), quad);
        }
        value = bilinear(quad, cell.fx, cell.fy);
      } else {
        value = {tinted * mask.value, tinted * mask.by_x, tinted * mask.by_y};
      }
      const I index = I::count() + I(column);
      const I takes_part = (I(i) >= block.last) & (index >= I(first)) & (index < I(end));
      const V opacity = select(takes_part, V(place.opacity), V(0));
      // 1 - o M, as the forward pass has it
      const V through = madd(opacity, 1 - mask.value, select(takes_part, V(place.clearness), V(1)));
      const V before = block.transmittance / through;
      block.transmittance = before;
      block.behind = madd(opacity, value.value, block.behind);
      const V weight = opacity * before, by_x = weight * value.by_x, by_y = weight * value.by_y;
      sum_x += by_x;
      sum_y += by_y;
      sum_xdx = madd(by_x, dx, sum_xdx);
      sum_xdy = madd(by_x, V(dy), sum_xdy);
      sum_ydx = madd(by_y, dx, sum_ydx);
      sum_ydy = madd(by_y, V(dy), sum_ydy);
      sum_opacity = madd(weight, value.value, sum_opacity);
#pragma GCC unroll 4
      for (int c = 0; c < C; ++c) sum_color[c] = madd(weight * mask.value, block.color[c], sum_color[c]);
    }
  }

  Sums<C> out;
  out.affine = {sum_x.sum(), sum_y.sum(), sum_xdx.sum(), sum_xdy.sum(), sum_ydx.sum(), sum_ydy.sum()};
  out.opacity = sum_opacity.sum();
  for (int c = 0; c < C; ++c) out.color[c] = sum_color[c].sum();
  return out;
}

template <typename T, int C>
void accumulate_tile(const Bitmaps<T>& bitmaps, const Instances<T>& instances, const Canvas& canvas,
                     const Tiles<T>& tiles, int64_t index, const Image<const T>& image,
                     const ImageGradient<T>& gradient, Sums<C>* out) {
  const Tile tile = tiles.tile(index);
  Blocks<Block<T, C>> blocks{};  // zeros beyond the canvas: nothing there has a gradient
  constexpr int kPixels = Blocks<Block<T, C>>::kPixels;
  int32_t backmost = INT32_MAX;
  for (int64_t row = 0; row < tile.height; ++row) {
    for (int64_t column = 0; column < tile.width; column += kPixels) {
      using V = Lanes<T>;
      Block<T, C>& block = blocks.rows[row][column / kPixels];
      const int64_t pixel = (tile.top + row) * canvas.width + tile.left + column, count = tile.width - column;
      for (int c = 0; c < C; ++c) {
        block.color[c] = V::load(gradient.color + c * canvas.height * canvas.width + pixel, count);
      }
      block.behind = V::load(gradient.transmittance + pixel, count);
      block.transmittance = V::load(image.transmittance + pixel, count);
      block.last = V::Integers::load(image.last + pixel, count);
    }
    const int32_t* last = image.last + (tile.top + row) * canvas.width + tile.left;
    backmost = std::min(backmost, *std::min_element(last, last + tile.width));
  }
  const auto list = tiles.list(index);
  for (const int32_t* i = list.begin; i != list.end; ++i) {
    const Placement<T>& place = tiles.place(*i);
    const auto run = place.mu_blend > 0 ? accumulate<T, C, true> : accumulate<T, C, false>;
    out[list.first_pair + (i - list.begin)] =
        *i < backmost ? Sums<C>{} : run(bitmaps, instances, place, *i, tile, &blocks);
  }
}

template <int C>
void add(const Sums<C>& from, Sums<C>* to) {
  to->affine.x += from.affine.x, to->affine.y += from.affine.y;
  to->affine.xdx += from.affine.xdx, to->affine.xdy += from.affine.xdy;
  to->affine.ydx += from.affine.ydx, to->affine.ydy += from.affine.ydy;
  to->opacity += from.opacity;
  for (int c = 0; c < C; ++c) to->color[c] += from.color[c];
}

template <typename T, int C>
void accumulate_all(const Bitmaps<T>& bitmaps, const Instances<T>& instances, const Canvas& canvas,
                    const Image<const T>& image, const ImageGradient<T>& gradient, const InstanceGradient<T>& out) {
  const Tiles<T> tiles(bitmaps, instances, canvas);
  const std::unique_ptr<Sums<C>[]> parts(new Sums<C>[tiles.pair_count()]);
  parallel_for_each(tiles.count(), [&](int64_t index) {
    accumulate_tile<T, C>(bitmaps, instances, canvas, tiles, index, image, gradient, parts.get());
  });

  // Every instance is summed over its tiles in the order of the tiles, so the result does not depend on the threads.
  const int64_t blocks = thread_count();
  parallel_for_each(blocks, [&](int64_t block) {
    const int64_t first = instances.count * block / blocks, end = instances.count * (block + 1) / blocks;
    std::vector<Sums<C>> sums(end - first, Sums<C>{});
    for (int64_t tile = 0; tile < tiles.count(); ++tile) {
      const auto list = tiles.list(tile);
      const int32_t* i = std::lower_bound(list.begin, list.end, first);
      for (; i != list.end && *i < end; ++i) add(parts[list.first_pair + (i - list.begin)], &sums[*i - first]);
    }
    for (int64_t i = first; i < end; ++i) {
      const Placement<T>& place = tiles.place(i);
      const Sums<C>& sum = sums[i - first];
      const PlacementGradient by =
          place.drawn ? chain(place, instances.scale[i], sum.affine) : PlacementGradient{0, 0, 0, 0};
      out.position[2 * i] = static_cast<T>(by.x);
      out.position[2 * i + 1] = static_cast<T>(by.y);
      out.rotation[i] = static_cast<T>(by.rotation);
      out.scale[i] = static_cast<T>(by.scale);
      // do/dnu = o sigmoid(-nu)
      out.opacity[i] = place.drawn ? static_cast<T>(sum.opacity * sigmoid(-instances.opacity[i])) : static_cast<T>(0);
      const double tint = place.drawn ? 1 - static_cast<double>(place.mu_blend) : 0;
#pragma GCC unroll 4
      for (int c = 0; c < C; ++c) out.color[C * i + c] = static_cast<T>(tint * sum.color[c]);
      if (!out.stretch) continue;
      const Matrix by_stretch = place.drawn ? chain_stretch(place, instances.rotation[i], stretch_of(instances, i),
                                                            sum.affine)
                                            : Matrix{0, 0, 0, 0};
      out.stretch[4 * i] = static_cast<T>(by_stretch.xx), out.stretch[4 * i + 1] = static_cast<T>(by_stretch.xy);
      out.stretch[4 * i + 2] = static_cast<T>(by_stretch.yx), out.stretch[4 * i + 3] = static_cast<T>(by_stretch.yy);
    }
  });
}

}  // namespace

template <typename T>
void render_backward(const Bitmaps<T>& bitmaps, const Instances<T>& instances, const Canvas& canvas,
                     const Image<const T>& image, const ImageGradient<T>& gradient, const InstanceGradient<T>& out) {
  switch (bitmaps.channels) {
    case 1: return accumulate_all<T, 1>(bitmaps, instances, canvas, image, gradient, out);
    case 3: return accumulate_all<T, 3>(bitmaps, instances, canvas, image, gradient, out);
    case 4: return accumulate_all<T, 4>(bitmaps, instances, canvas, image, gradient, out);
  }
}

template void render_backward(const Bitmaps<float>&, const Instances<float>&, const Canvas&,
                              const Image<const float>&, const ImageGradient<float>&, const InstanceGradient<float>&);
template void render_backward(const Bitmaps<double>&, const Instances<double>&, const Canvas&,
                              const Image<const double>&, const ImageGradient<double>&,
                              const InstanceGradient<double>&);

}  // namespace diffbmp::cpu
