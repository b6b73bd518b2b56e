// Canvas to texels and back: placement, bounds, sampling and their derivatives. Host and device share this text.
//
// A pixel centre p of the canvas falls on the texel coordinates
//     t = A (p - position) + c
//     A = diag(w_k / w, h_k / h) S^-1 R(-rotation) / scale,  c = ((w_k + 1) / 2, (h_k + 1) / 2)
// of mip level k, w_k x h_k texels, of a bitmap of w x h pixels; S is the instance's stretch. The level's border of
// zeros is counted: texel (i, j) has its centre at t = (i, j), and the bitmap's own run from 1 to w_k. G is the
// derivative of the loss by t.
#pragma once

#include <cmath>

#include "render.h"

#if defined(__CUDACC__)
#define DIFFBMP_INLINE __host__ __device__ __forceinline__
#else
#define DIFFBMP_INLINE inline __attribute__((always_inline))
#endif

namespace diffbmp {

// a b + c rounded once, where the processor can: the backward pass divides out what the forward pass multiplied in, so
// both have to round alike, which a compiler's own contraction does not promise.
template <typename T>
DIFFBMP_INLINE T madd(T a, T b, T c) {
#if defined(__CUDA_ARCH__) || defined(__FMA__) || defined(__ARM_FEATURE_FMA)
  return std::fma(a, b, c);
#else
  return a * b + c;
#endif
}

template <typename T>
DIFFBMP_INLINE T smaller(T a, T b) {
  return a < b ? a : b;
}

template <typename T>
DIFFBMP_INLINE T larger(T a, T b) {
  return a > b ? a : b;
}

// 1 / (1 + e^-v). Its derivative is sigmoid(v) sigmoid(-v).
DIFFBMP_INLINE double sigmoid(double v) {
  return 1 / (1 + std::exp(-v));
}

DIFFBMP_INLINE void turn(double angle, double* sine, double* cosine) {
#if defined(__CUDA_ARCH__)
  sincos(angle, sine, cosine);
#else
  *sine = std::sin(angle), *cosine = std::cos(angle);
#endif
}

// k = clamp(round(-2 log2(scale)), 0, count - 1): half-octave levels, the nearest one.
DIFFBMP_INLINE int nearest_level(double scale, int count) {
  // Without a logarithm, which takes a GPU long: 2^-(2 k + 1) <= scale^4 < 2^-(2 k - 1).
  const double held = smaller(larger(scale, 1e-30), 1.0);
  return smaller(-std::ilogb(held * held * held * held) / 2, count - 1);
}

// ---- one instance, placed ------------------------------------------------------------------------------------------

// Steeper than this in texels per pixel, an instance is nothing that could be seen or that numbers could follow.
constexpr double kMaxSlope = 1e30;

template <typename T>
struct Placement {
  T x, y;                   // position, canvas px
  T ax, bx, cx;             // t.x = ax dx + bx dy + cx, where (dx, dy) = p - position
  T ay, by, cy;             // t.y = ay dx + by dy + cy
  T x0, x1, y0, y1;         // samples are zero unless x0 < t.x < x1 and y0 < t.y < y1
  T opacity, clearness;     // o = alpha_max sigmoid(nu), and 1 - o, which a rounded o would tell only roughly
  T mu_blend;
  int32_t offset, stride;   // of the level's texel (0, 0), its border included; from row to row
  int32_t width, height;    // of the level, without the border: the largest index that has a right or lower neighbour
  bool drawn;               // false: nothing of it may be used
};

// A 2 x 2 matrix, row by row.
struct Matrix {
  double xx, xy, yx, yy;
};

DIFFBMP_INLINE Matrix multiplied(const Matrix& a, const Matrix& b) {
  return {a.xx * b.xx + a.xy * b.yx, a.xx * b.xy + a.xy * b.yy, a.yx * b.xx + a.yy * b.yx, a.yx * b.xy + a.yy * b.yy};
}

DIFFBMP_INLINE Matrix transposed(const Matrix& a) { return {a.xx, a.yx, a.xy, a.yy}; }

template <typename T>
DIFFBMP_INLINE Matrix stretch_of(const Instances<T>& instances, int64_t i) {
  if (!instances.stretch) return {1, 0, 0, 1};
  const T* at = instances.stretch + 4 * i;
  return {static_cast<double>(at[0]), static_cast<double>(at[1]), static_cast<double>(at[2]),
          static_cast<double>(at[3])};
}

DIFFBMP_INLINE double determinant(const Matrix& a) { return a.xx * a.yy - a.xy * a.yx; }

DIFFBMP_INLINE Matrix inverted(const Matrix& a) {
  const double by = 1 / determinant(a);
  return {a.yy * by, -a.xy * by, -a.yx * by, a.xx * by};
}

// What a matrix that should keep areas may do to them; beyond, it is none, and nothing is drawn.
constexpr double kMostStretched = 1e3;

// The corners of the box that holds all of an instance, in canvas px, in turn round the box.
struct Corners {
  double x[4], y[4];
};

template <typename T>
DIFFBMP_INLINE Placement<T> place(const Bitmaps<T>& bitmaps, const Instances<T>& instances, const Canvas& canvas,
                                  int64_t i, Corners* corners) {
  Placement<T> out;
  out.drawn = false;
  const double x = instances.position[2 * i], y = instances.position[2 * i + 1];
  const double rotation = instances.rotation[i], scale = instances.scale[i], nu = instances.opacity[i];
  const Matrix stretch = stretch_of(instances, i);
  const double mu_blend = instances.mu_blend ? static_cast<double>(instances.mu_blend[i]) : canvas.mu_blend;
  double sum = x + y + rotation + scale + nu + mu_blend + stretch.xx + stretch.xy + stretch.yx + stretch.yy;
  for (int c = 0; c < bitmaps.channels; ++c) sum += instances.color[bitmaps.channels * i + c];
  const double area = std::fabs(determinant(stretch));
  if (!std::isfinite(sum) || !(scale > 0) || !(area > 1 / kMostStretched && area < kMostStretched)) return out;

  const Level* levels = bitmaps.levels + instances.bitmap[i] * bitmaps.level_count;
  if (bitmaps.level_count == 0 || levels[0].width <= 0) return out;
  const Level& full = levels[0];
  int nearest = nearest_level(scale, bitmaps.level_count);
  while (nearest > 0 && levels[nearest].width == 0) --nearest;
  const Level& level = levels[nearest];
  if (level.x0 >= level.x1 || level.y0 >= level.y1) return out;

  const double across = static_cast<double>(level.width) / full.width;
  const double down = static_cast<double>(level.height) / full.height;
  double sine, cosine;
  turn(rotation, &sine, &cosine);
  const double across_step = across / scale, down_step = down / scale;
  Matrix turned = {cosine, sine, -sine, cosine}, back = {cosine, -sine, sine, cosine};
  if (instances.stretch) {
    turned = multiplied(inverted(stretch), turned);  // S^-1 R(-rotation)
    back = multiplied(back, stretch);                // R(rotation) S
  }
  const double ax = across_step * turned.xx, bx = across_step * turned.xy;
  const double ay = down_step * turned.yx, by = down_step * turned.yy;
  if (!(larger(larger(std::fabs(ax), std::fabs(bx)), larger(std::fabs(ay), std::fabs(by))) < kMaxSlope)) return out;

  out.x = static_cast<T>(x), out.y = static_cast<T>(y);
  out.ax = static_cast<T>(ax), out.bx = static_cast<T>(bx), out.cx = static_cast<T>((level.width + 1) / 2.0);
  out.ay = static_cast<T>(ay), out.by = static_cast<T>(by), out.cy = static_cast<T>((level.height + 1) / 2.0);
  out.x0 = static_cast<T>(level.x0), out.x1 = static_cast<T>(level.x1 + 1);
  out.y0 = static_cast<T>(level.y0), out.y1 = static_cast<T>(level.y1 + 1);
  out.opacity = static_cast<T>(canvas.alpha_max * sigmoid(nu));
  out.clearness = static_cast<T>(1 - canvas.alpha_max + canvas.alpha_max * sigmoid(-nu));
  out.mu_blend = static_cast<T>(mu_blend);
  out.offset = level.offset, out.stride = level.width + 2;
  out.width = level.width, out.height = level.height;
  out.drawn = true;

  // p = position + R(rotation) S scale diag(w / w_k, h / h_k) (t - c)
  const double column = 1 / across_step, row = 1 / down_step;  // px
  const double left = (level.x0 - (level.width + 1) / 2.0) * column;
  const double right = (level.x1 + 1 - (level.width + 1) / 2.0) * column;
  const double top = (level.y0 - (level.height + 1) / 2.0) * row;
  const double bottom = (level.y1 + 1 - (level.height + 1) / 2.0) * row;
  const double u[4] = {left, right, right, left}, v[4] = {top, top, bottom, bottom};
  for (int k = 0; k < 4; ++k) {
    corners->x[k] = x + back.xx * u[k] + back.xy * v[k];
    corners->y[k] = y + back.yx * u[k] + back.yy * v[k];
  }
  return out;
}

// ---- bounds --------------------------------------------------------------------------------------------------------

struct Interval {
  double low, high;  // empty where low > high
};

constexpr double kMargin = 1e-2;  // px, on every bound: rounding must not lose a pixel

DIFFBMP_INLINE Interval vertical_extent(const Corners& box) {
  return {smaller(smaller(box.y[0], box.y[1]), smaller(box.y[2], box.y[3])) - kMargin,
          larger(larger(box.y[0], box.y[1]), larger(box.y[2], box.y[3])) + kMargin};
}

// Where a box meets the strip top <= y <= bottom. A tile that spans the strip is met exactly if its x meets this.
DIFFBMP_INLINE Interval horizontal_extent(const Corners& box, double top, double bottom) {
  Interval out = {HUGE_VAL, -HUGE_VAL};
  top -= kMargin, bottom += kMargin;
  for (int k = 0; k < 4; ++k) {
    const double xa = box.x[k], ya = box.y[k], xb = box.x[(k + 1) % 4], yb = box.y[(k + 1) % 4];
    const double low = larger(smaller(ya, yb), top), high = smaller(larger(ya, yb), bottom);
    if (low > high) continue;
    const double slope = ya == yb ? 0.0 : (xb - xa) / (yb - ya);
    const double x_low = ya == yb ? xa : xa + (low - ya) * slope, x_high = ya == yb ? xb : xa + (high - ya) * slope;
    out.low = smaller(out.low, smaller(x_low, x_high) - kMargin);
    out.high = larger(out.high, larger(x_low, x_high) + kMargin);
  }
  return out;
}

// 1 / slope; something large for a slope of nothing.
template <typename T>
DIFFBMP_INLINE T inverse(T slope) {
  const T flat = static_cast<T>(1e-20);
  return 1 / (slope < 0 ? smaller(slope, -flat) : larger(slope, flat));
}

// Cuts first..last to the d for which low < d / inverse_slope + start < high.
template <typename T, typename V>
DIFFBMP_INLINE void clip(T inverse_slope, V start, T low, T high, V* first, V* last) {
  const V a = (low - start) * inverse_slope, b = (high - start) * inverse_slope;
  *first = larger(*first, smaller(a, b));
  *last = smaller(*last, larger(a, b));
}

// ---- sampling ------------------------------------------------------------------------------------------------------
// V is a number, or several side by side (cpu/lanes.h).

// What indexes texels for V.
template <typename V>
struct Index {
  using type = int32_t;
};

// The cell of four texels that a sample lies in.
template <typename V>
struct Cell {
  typename Index<V>::type texel;  // index of its upper left texel in a plane
  V fx, fy;                       // where in the cell, 0 to 1
};

// The cell of texel coordinates t. Outside the level, the nearest on its border: values are zero there, slopes are not.
template <typename T, typename V>
DIFFBMP_INLINE Cell<V> cell_at(const Placement<T>& place, V x, V y) {
  using I = typename Index<V>::type;
  x = smaller(larger(x, V(0)), V(static_cast<T>(place.width + 1)));
  y = smaller(larger(y, V(0)), V(static_cast<T>(place.height + 1)));
  // Truncation is floor, t being above 0. The last texel has no neighbour: it is the far end of the cell before.
  const I column = smaller(static_cast<I>(x), I(place.width));
  const I row = smaller(static_cast<I>(y), I(place.height));
  return {place.offset + row * place.stride + column, x - static_cast<V>(column), y - static_cast<V>(row)};
}

// The values at the corners of a cell.
template <typename V>
struct Quad {
  V v00, v10, v01, v11;  // v10 is right of v00, v01 below it
};

template <typename T>
DIFFBMP_INLINE Quad<T> load(const T* plane, int32_t texel, int32_t stride) {
  return {plane[texel], plane[texel + 1], plane[texel + stride], plane[texel + stride + 1]};
}

// weight quad + other
template <typename V>
DIFFBMP_INLINE Quad<V> madd(V weight, const Quad<V>& quad, const Quad<V>& other) {
  return {madd(weight, quad.v00, other.v00), madd(weight, quad.v10, other.v10), madd(weight, quad.v01, other.v01),
          madd(weight, quad.v11, other.v11)};
}

template <typename V>
DIFFBMP_INLINE Quad<V> scaled(V weight, const Quad<V>& quad) {
  return {weight * quad.v00, weight * quad.v10, weight * quad.v01, weight * quad.v11};
}

template <typename V>
struct Sample {
  V value, by_x, by_y;  // and its derivatives by t
};

// (1 - fy) ((1 - fx) v00 + fx v10) + fy ((1 - fx) v01 + fx v11)
template <typename V>
DIFFBMP_INLINE Sample<V> bilinear(const Quad<V>& quad, V fx, V fy) {
  const V upper_step = quad.v10 - quad.v00, lower_step = quad.v11 - quad.v01;
  const V upper = madd(fx, upper_step, quad.v00), lower = madd(fx, lower_step, quad.v01);
  const V step = lower - upper;
  return {madd(fy, step, upper), madd(fy, lower_step - upper_step, upper_step), step};
}

// ---- derivatives ---------------------------------------------------------------------------------------------------

// Sums over pixels, d = p - position.
struct AffineGradient {
  double x, y;              // G.x, G.y
  double xdx, xdy, ydx, ydy;  // G.x d.x, G.x d.y, G.y d.x, G.y d.y: the derivative by A
};

struct PlacementGradient {
  double x, y, rotation, scale;
};

// By position: -A^T sum(G). By rotation: dA/drotation = [-bx ax; -by ay]. By scale: dA/dscale = -A / scale.
template <typename T>
DIFFBMP_INLINE PlacementGradient chain(const Placement<T>& place, double scale, const AffineGradient& sum) {
  const double ax = place.ax, bx = place.bx, ay = place.ay, by = place.by;
  return {-(ax * sum.x + ay * sum.y), -(bx * sum.x + by * sum.y),
          ax * sum.xdy - bx * sum.xdx + ay * sum.ydy - by * sum.ydx,
          -(ax * sum.xdx + bx * sum.xdy + ay * sum.ydx + by * sum.ydy) / scale};
}

// By the stretch S: dA = -A R(rotation) dS S^-1 R(-rotation).
template <typename T>
DIFFBMP_INLINE Matrix chain_stretch(const Placement<T>& place, double rotation, const Matrix& stretch,
                                    const AffineGradient& sum) {
  double sine, cosine;
  turn(rotation, &sine, &cosine);
  const Matrix back = {cosine, sine, -sine, cosine};  // R(-rotation)
  const Matrix a = {place.ax, place.bx, place.ay, place.by}, by_a = {sum.xdx, sum.xdy, sum.ydx, sum.ydy};
  const Matrix out = multiplied(multiplied(back, multiplied(transposed(a), by_a)),
                                transposed(multiplied(inverted(stretch), back)));
  return {-out.xx, -out.xy, -out.yx, -out.yy};
}

}  // namespace diffbmp
