// What one block does to its tile: drawing it front to back, and the gradients back to front. cpu/backward.cpp derives
// the latter; the names are the same.
#pragma once

#include <type_traits>

#include "tile.cuh"

namespace diffbmp::cuda {

// Sums over pixels for each instance: A^T G (as x and y), its moments about the position that are the derivatives by
// rotation and, negative, by the logarithm of scale, o T V, and o T M g. kSumStride: sectors of 32 bytes.
constexpr int kSumOpacity = 4, kSumColor = 5, kSumStride = 16;

// How a thread's pixels lie: kStepX and kStepY from the first.
template <int P>
__device__ __forceinline__ constexpr int right_of(int k) { return k % kColumns<P> * kStepX; }
template <int P>
__device__ __forceinline__ constexpr int below(int k) { return k / kColumns<P> * kStepY; }

// The compiler may not leave out an addition of zero.
__device__ __forceinline__ float moved(float d, int by) { return by == 0 ? d : d + by; }

template <int C>
struct Color {
  float of[C];
};

template <int C>
__device__ __forceinline__ Color<C> color_of(const Drawing& drawing, int32_t i, const Packed& p) {
  Color<C> out;
#pragma unroll
  for (int c = 0; c < C && c < 3; ++c) out.of[c] = p.color[c];
  if constexpr (C > 3) out.of[3] = __ldg(drawing.fourth + i);
  return out;
}

template <int C, int P>
struct PixelState {
  float color[P][C];
  float transmittance[P];
  int32_t last[P];  // the backmost instance that takes part
};

// 1 - o M
__device__ __forceinline__ float what_passes(float opacity, float rest, float mask) {
  return madd(-rest, mask, madd(-opacity, mask, 1.f));
}

// kRemember: for differentiate_tile, which instances of the list show. Returns the length of the list if it is all of
// the tile's, and else -1. Warps come back one by one: what they wait for each other for is over.
template <int C, bool kMapped, int P, bool kRemember>
__device__ __forceinline__ int32_t draw_tile(const Drawing& drawing, const Pixels& at, List* list,
                                             PixelState<C, P>& state) {
#pragma unroll
  for (int k = 0; k < P; ++k) {
#pragma unroll
    for (int c = 0; c < C; ++c) state.color[k][c] = 0;
    state.transmittance[k] = 1;
    state.last[k] = 0;
  }
  const float opaque = static_cast<float>(kOpaque);
  const auto visit = [&](int32_t i, const Packed& p) {
    const float dx = at.column + .5f - p.x, dy = at.row + .5f - p.y;
    const Color<C> tint = color_of<C>(drawing, i, p);
    const float mu_blend = kMapped ? mu_blend_of(drawing, i) : 0;
    unsigned anything = 0;
#pragma unroll
    for (int k = 0; k < P; ++k) {
      const Cell<float> cell = cell_at(p, moved(dx, right_of<P>(k)), moved(dy, below<P>(k)));
      const float mask = sample(surface_at(drawing.cells, cell.texel), cell.fx, cell.fy).value;
      anything |= __float_as_uint(mask);
      const bool shines = state.transmittance[k] >= opaque;
      const float opacity = shines ? p.opacity : 0;
      const float weight = state.transmittance[k] * opacity;
#pragma unroll
      for (int c = 0; c < C; ++c) {
        float& color = state.color[k][c];
        if constexpr (kMapped) {
          const float4* plane = drawing.cells + (1 + c) * drawing.cell_count;
          const float mapped = sample(surface_at(plane, cell.texel), cell.fx, cell.fy).value;
          color = madd(weight, madd(tint.of[c], mask, mu_blend * mapped), color);
        } else {
          color = madd(weight * mask, tint.of[c], color);
        }
      }
      state.transmittance[k] *= what_passes(opacity, p.opacity_rest, mask);
      state.last[k] = shines ? i : state.last[k];
    }
    return !kRemember || __any_sync(kAll, anything);
  };
  const auto finished = [&] {
    float most = state.transmittance[0];
#pragma unroll
    for (int k = 1; k < P; ++k) most = larger(most, state.transmittance[k]);
    return __all_sync(kAll, most < opaque) != 0;
  };

  int32_t next = 0;
  for (bool first = true;; first = false) {
    bool more;
    const int32_t listed = list_next<true>(drawing, at, list, &next, &more);
    visit_list<kRemember>(drawing, at.mine, list, listed, 0, visit, finished);
    if (!more) return first ? listed : -1;
    if (__syncthreads_and(finished())) return -1;
  }
}

// Sums `values` over the warp; lane k < 8 ends with the sum of values[k]. Three exchanges that halve the number of
// values, then two plain ones: 9 shuffles for 8 values.
__device__ __forceinline__ float reduce8(float (&values)[8]) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int width = 4; width > 0; width /= 2) {
    const bool upper = lane & width;
#pragma unroll
    for (int k = 0; k < width; ++k) {
      const float sent = upper ? values[k] : values[k + width];
      const float kept = upper ? values[k + width] : values[k];
      values[k] = kept + __shfl_xor_sync(kAll, sent, width);
    }
  }
  values[0] += __shfl_xor_sync(kAll, values[0], 8);
  values[0] += __shfl_xor_sync(kAll, values[0], 16);
  return values[0];
}

__device__ __forceinline__ float reduce(float value) {
#pragma unroll
  for (int width = 16; width > 0; width /= 2) value += __shfl_xor_sync(kAll, value, width);
  return value;
}

__device__ __forceinline__ float reciprocal(float value) {
  float out;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(out) : "f"(value));
  return out;
}

// Adds each instance's sums by add(i, which, value). `g` is the derivative of the loss by the picture's colour,
// `behind` (R) at first that by the final transmittance; `transmittance` and `last` are what draw_tile left.
// `list` is a const Seen, what draw_tile left of all instances of the tile, or a List, to be made again.
template <int C, bool kMapped, int P, typename SeenOrList, typename Add>
__device__ __forceinline__ void differentiate_tile(const Drawing& drawing, const Pixels& at, SeenOrList* list,
                                                   const float (&g)[P][C], float (&behind)[P],
                                                   float (&transmittance)[P], const int32_t (&last)[P], Add add) {
  constexpr bool kRemembered = std::is_same_v<SeenOrList, const Seen>;
  const int lane = threadIdx.x % 32;
  const auto visit = [&](int32_t i, const Packed& p) {
    const float dx = at.column + .5f - p.x, dy = at.row + .5f - p.y;
    const Color<C> tint = color_of<C>(drawing, i, p);
    const float mu_blend = kMapped ? mu_blend_of(drawing, i) : 0;
    float values[8] = {}, fourth = 0, gx[P], gy[P];  // G
    Cell<float> cells[P];
    Surface surfaces[P];
    Sample<float> masks[P];
    unsigned anything = 0;
#pragma unroll
    for (int k = 0; k < P; ++k) {
      cells[k] = cell_at(p, moved(dx, right_of<P>(k)), moved(dy, below<P>(k)));
      surfaces[k] = surface_at(drawing.cells, cells[k].texel);
      masks[k] = sample(surfaces[k], cells[k].fx, cells[k].fy);
      anything |= __float_as_uint(masks[k].value);
    }
    if (!kRemembered && !__any_sync(kAll, anything)) return true;
#pragma unroll
    for (int k = 0; k < P; ++k) {
      const Cell<float>& cell = cells[k];
      const Sample<float>& mask = masks[k];
      const float opacity = i >= last[k] ? p.opacity : 0;
      const float through = what_passes(opacity, p.opacity_rest, mask.value);
      const float before = transmittance[k] * reciprocal(through);
      transmittance[k] = before;
      const float shown = before * opacity, weight = shown * mask.value;
      float tinted = -behind[k];
#pragma unroll
      for (int c = 0; c < C; ++c) tinted = madd(tint.of[c], g[k][c], tinted);
      if constexpr (kMapped) {
        Surface surface = plus({}, tinted, surfaces[k]);
#pragma unroll
        for (int c = 0; c < C; ++c) {
          const float4* plane = drawing.cells + (1 + c) * drawing.cell_count;
          surface = plus(surface, mu_blend * g[k][c], surface_at(plane, cell.texel));
        }
        const Sample<float> value = sample(surface, cell.fx, cell.fy);  // V
        behind[k] = madd(opacity, value.value, behind[k]);
        gx[k] = shown * value.by_x;
        gy[k] = shown * value.by_y;
        values[kSumOpacity] = madd(shown, value.value, values[kSumOpacity]);
      } else {  // V = tinted M
        const float slope = shown * tinted;
        behind[k] = madd(opacity * mask.value, tinted, behind[k]);
        gx[k] = slope * mask.by_x;
        gy[k] = slope * mask.by_y;
        values[kSumOpacity] = madd(weight, tinted, values[kSumOpacity]);
      }
#pragma unroll
      for (int c = 0; c < C; ++c) {
        float& sum = c < 3 ? values[kSumColor + c] : fourth;
        sum = madd(weight, g[k][c], sum);
      }
    }
    // Over the thread's pixels, which lie at d = (dx, dy) + (right_of, below).
    float x = gx[0], y = gy[0], right_x = 0, right_y = 0, below_x = 0, below_y = 0;
#pragma unroll
    for (int k = 1; k < P; ++k) {
      x += gx[k], y += gy[k];
      if (right_of<P>(k)) right_x += gx[k] * right_of<P>(k), right_y += gy[k] * right_of<P>(k);
      if (below<P>(k)) below_x += gx[k] * below<P>(k), below_y += gy[k] * below<P>(k);
    }
    const float ax = p.ax * p.span_x, bx = p.bx * p.span_x, ay = p.ay * p.span_y(), by = p.by * p.span_y();
    const float by_dx = madd(ax, x, ay * y), by_dy = madd(bx, x, by * y);
    values[0] = by_dx;
    values[1] = by_dy;
    values[2] = madd(ax, below_x, madd(ay, below_y, madd(by_dx, dy, -by_dy * dx)));
    values[3] = madd(bx, below_x, madd(by, below_y, madd(by_dx, dx, by_dy * dy)));
    if constexpr (kColumns<P> > 1) {
      values[2] = madd(-bx, right_x, madd(-by, right_y, values[2]));
      values[3] = madd(ax, right_x, madd(ay, right_y, values[3]));
    }
    const float total = reduce8(values);
    if (lane < 8) add(i, lane, total);
    if constexpr (C > 3) {
      fourth = reduce(fourth);
      if (lane == 0) add(i, kSumColor + 3, fourth);
    }
    return true;
  };
  if constexpr (kRemembered) {
    visit_shown(drawing, list, visit);
  } else {
    int32_t first = last[0];
#pragma unroll
    for (int k = 1; k < P; ++k) first = smaller(first, last[k]);
#pragma unroll
    for (int width = 16; width > 0; width /= 2) first = smaller(first, __shfl_xor_sync(kAll, first, width));
    int32_t next = 0;
    bool more;
    do {
      const int32_t listed = list_next<false>(drawing, at, list, &next, &more);
      visit_list<false>(drawing, at.mine, list, listed, first, visit, [] { return false; });
      __syncthreads();
    } while (more);
  }
}

}  // namespace diffbmp::cuda
