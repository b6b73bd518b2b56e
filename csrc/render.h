// The kernels' interface: raw pointers and sizes, no torch. The CPU kernels (cpu/) implement it for
// float and double; the CUDA kernels take the same structures and a stream.
//
// Drawn, for every pixel p of a height x width canvas, front to back over the instances i that cover it:
//     o_i = alpha_max * sigmoid(opacity_i)
//     a_i = o_i * M_i(p)                                        M_i: bilinear sample of the alpha plane
//     q_i = o_i * ((1 - mu_i) * color_i * M_i(p) + mu_i * S_i(p))   S_i: of the premultiplied colour; mu_i: mu_blend
//     color += T * q_i ;  T *= 1 - a_i                          Porter-Duff over, premultiplied
// The texel planes are premultiplied, so every term is linear in the texels and nothing is divided.
#pragma once

#include <cstdint>

namespace diffbmp {

constexpr int kMaxChannels = 4;  // colour channels C: 1 (gray), 3 (RGB) or 4 (CMYK)

// 1 - a_i stays above 1e-4, so that the backward pass can divide transmittance out again.
constexpr double kOpacityLimit = 0.9999;
// A pixel whose transmittance fell below this takes no further instance.
constexpr double kOpaque = 1e-8;

// One mip level of one bitmap, within the texel planes.
struct Level {
  int32_t offset;         // of texel (-1, -1): every level is surrounded by a border of zeros, 1 texel wide
  int32_t width, height;  // without the border; the row stride is width + 2
  int32_t x0, y0, x1, y1; // half-open box of the texels with alpha > 0; x0 == x1: nothing there, and nothing stored
};
constexpr int kLevelFields = 7;
static_assert(sizeof(Level) == kLevelFields * sizeof(int32_t), "levels are read from a table of int32");

template <typename scalar_t>
struct Bitmaps {
  int64_t count;           // P
  int64_t level_count;     // L, levels per bitmap; unused trailing levels have width 0
  int64_t texel_count;     // per plane
  int32_t channels;        // C
  const scalar_t* texels;  // [C + 1, texel_count]: C premultiplied colour planes, then alpha
  const Level* levels;     // [P, L]
};

template <typename scalar_t>
struct Instances {
  int64_t count;             // N; index 0 is the backmost
  const scalar_t* position;  // [N, 2] canvas px
  const scalar_t* rotation;  // [N] rad, clockwise on screen
  const scalar_t* scale;     // [N] canvas px per bitmap px (of level 0)
  const scalar_t* opacity;   // [N] logit nu
  const scalar_t* color;     // [N, C]
  const int32_t* bitmap;     // [N] in [0, P)
  const scalar_t* stretch;   // [N, 2, 2] row by row, of determinant 1 or -1, or null: the identity
  const scalar_t* mu_blend;  // [N] in [0, 1], or null: the canvas's for all
};

struct Canvas {
  int64_t height, width;
  double alpha_max;  // in (0, kOpacityLimit]
  double mu_blend;   // in [0, 1]
};

template <typename scalar_t>
struct Image {
  scalar_t* color;          // [C, H, W] premultiplied
  scalar_t* transmittance;  // [H, W]
  int32_t* last;            // [H, W] the backmost instance that takes part there; 0 will do where nothing is hidden
};

template <typename scalar_t>
struct ImageGradient {
  const scalar_t* color;          // [C, H, W]
  const scalar_t* transmittance;  // [H, W]
};

template <typename scalar_t>
struct InstanceGradient {
  scalar_t* position;  // [N, 2]
  scalar_t* rotation;  // [N]
  scalar_t* scale;     // [N]
  scalar_t* opacity;   // [N]
  scalar_t* color;     // [N, C]
  scalar_t* stretch;   // [N, 2, 2], or null
};

namespace cpu {

template <typename scalar_t>
void render(const Bitmaps<scalar_t>&, const Instances<scalar_t>&, const Canvas&, const Image<scalar_t>& out);

// `image` is what render() wrote for the same inputs.
template <typename scalar_t>
void render_backward(const Bitmaps<scalar_t>&, const Instances<scalar_t>&, const Canvas&,
                     const Image<const scalar_t>& image, const ImageGradient<scalar_t>& gradient,
                     const InstanceGradient<scalar_t>& out);

}  // namespace cpu
}  // namespace diffbmp
