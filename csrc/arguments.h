// The operators' arguments: what is checked before a kernel sees a pointer.
#pragma once

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <optional>

#include "render.h"

namespace diffbmp {

using at::Tensor;

struct Arguments {
  Tensor texels, levels, position, rotation, scale, opacity, color, bitmap;
  int64_t height, width;
  double alpha_max, mu_blend;
  std::optional<Tensor> stretch, mu_blends;

  at::TensorOptions options() const { return texels.options(); }
  int64_t channels() const { return color.size(1); }

  Canvas canvas() const { return {height, width, std::min(alpha_max, kOpacityLimit), mu_blend}; }

  template <typename T>
  Bitmaps<T> bitmaps() const {
    return {levels.size(0),
            levels.size(1),
            texels.size(1),
            static_cast<int32_t>(channels()),
            texels.const_data_ptr<T>(),
            reinterpret_cast<const Level*>(levels.const_data_ptr<int32_t>())};
  }

  template <typename T>
  Instances<T> instances() const {
    return {position.size(0),
            position.const_data_ptr<T>(),
            rotation.const_data_ptr<T>(),
            scale.const_data_ptr<T>(),
            opacity.const_data_ptr<T>(),
            color.const_data_ptr<T>(),
            bitmap.const_data_ptr<int32_t>(),
            stretch ? stretch->const_data_ptr<T>() : nullptr,
            mu_blends ? mu_blends->const_data_ptr<T>() : nullptr};
  }
};

inline std::optional<Tensor> contiguous(const std::optional<Tensor>& tensor) {
  return tensor ? std::optional<Tensor>(tensor->contiguous()) : std::nullopt;
}

inline void check_like(const char* name, const Tensor& tensor, at::IntArrayRef shape, const Tensor& texels) {
  TORCH_CHECK_VALUE(tensor.sizes() == shape, "diffbmp: ", name, " has shape ", tensor.sizes(), ", not ", shape);
  TORCH_CHECK_TYPE(tensor.scalar_type() == texels.scalar_type(), "diffbmp: ", name, " is ", tensor.scalar_type(),
                   ", but texels are ", texels.scalar_type());
  TORCH_CHECK_VALUE(tensor.device() == texels.device(), "diffbmp: ", name, " is on ", tensor.device(),
                    ", but texels are on ", texels.device());
}

inline void check_levels(const Tensor& levels, int64_t texel_count) {
  const auto rows = levels.accessor<int32_t, 3>();
  for (int64_t p = 0; p < rows.size(0); ++p) {
    for (int64_t k = 0; k < rows.size(1); ++k) {
      const auto row = rows[p][k];
      const int64_t offset = row[0], width = row[1], height = row[2], x0 = row[3], y0 = row[4], x1 = row[5],
                    y1 = row[6];
      TORCH_CHECK_VALUE(width >= 0 && height >= 0 && (width > 0) == (height > 0), "diffbmp: level ", k, " of bitmap ",
                        p, " is ", width, " x ", height, " texels");
      if (x0 >= x1 || y0 >= y1) continue;  // nothing there, and nothing that would be read
      TORCH_CHECK_VALUE(0 <= x0 && x1 <= width && 0 <= y0 && y1 <= height, "diffbmp: the box of level ", k,
                        " of bitmap ", p, " reaches beyond it");
      TORCH_CHECK_VALUE(offset >= 0 && offset + (width + 2) * (height + 2) <= texel_count, "diffbmp: level ", k,
                        " of bitmap ", p, " reaches beyond the ", texel_count, " texels");
    }
  }
}

inline void check_texels(const Tensor& texels) {
  TORCH_CHECK_TYPE(texels.scalar_type() == at::kFloat || texels.scalar_type() == at::kDouble, "diffbmp: texels are ",
                   texels.scalar_type(), ", not float32 or float64");
  TORCH_CHECK_VALUE(texels.dim() == 2 && (texels.size(0) == 2 || texels.size(0) == 4 || texels.size(0) == 5),
                    "diffbmp: texels have shape ", texels.sizes(), ", not [C + 1, T] with C = 1, 3 or 4");
}

inline void check_bitmaps(int64_t texel_count, const Tensor& levels) {
  TORCH_CHECK_VALUE(texel_count <= INT32_MAX, "diffbmp: ", texel_count, " texels are more than 2^31 - 1");
  TORCH_CHECK_TYPE(levels.scalar_type() == at::kInt, "diffbmp: levels are ", levels.scalar_type(), ", not int32");
  TORCH_CHECK_VALUE(levels.dim() == 3 && levels.size(0) >= 1 && levels.size(1) >= 1 && levels.size(2) == kLevelFields,
                    "diffbmp: levels have shape ", levels.sizes(), ", not [P, L, ", kLevelFields, "]");
}

inline void check_canvas(int64_t height, int64_t width, double alpha_max, double mu_blend) {
  TORCH_CHECK_VALUE(height >= 1 && width >= 1 && height <= INT32_MAX && width <= INT32_MAX,
                    "diffbmp: cannot draw on a canvas of ", width, " x ", height);
  TORCH_CHECK_VALUE(alpha_max > 0 && alpha_max <= 1, "diffbmp: alpha_max is ", alpha_max, ", not in (0, 1]");
  TORCH_CHECK_VALUE(mu_blend >= 0 && mu_blend <= 1, "diffbmp: mu_blend is ", mu_blend, ", not in [0, 1]");
}

inline void check_instances(const Tensor& texels, int64_t channels, const Tensor& position, const Tensor& rotation,
                            const Tensor& scale, const Tensor& opacity, const Tensor& color, const Tensor& bitmap,
                            const std::optional<Tensor>& stretch, const std::optional<Tensor>& mu_blends) {
  const int64_t count = position.dim() == 2 ? position.size(0) : 0;
  TORCH_CHECK_VALUE(count <= INT32_MAX, "diffbmp: ", count, " instances are more than 2^31 - 1");
  check_like("position", position, {count, 2}, texels);
  check_like("rotation", rotation, {count}, texels);
  check_like("scale", scale, {count}, texels);
  check_like("opacity", opacity, {count}, texels);
  check_like("color", color, {count, channels}, texels);
  if (stretch) check_like("stretch", *stretch, {count, 2, 2}, texels);
  if (mu_blends) check_like("mu_blends", *mu_blends, {count}, texels);
  TORCH_CHECK_TYPE(bitmap.scalar_type() == at::kInt, "diffbmp: bitmap is ", bitmap.scalar_type(), ", not int32");
  TORCH_CHECK_VALUE(bitmap.dim() == 1 && bitmap.size(0) == count, "diffbmp: bitmap has shape ", bitmap.sizes(),
                    ", not ", at::IntArrayRef({count}));
  TORCH_CHECK_VALUE(bitmap.device() == texels.device(), "diffbmp: bitmap is on ", bitmap.device(),
                    ", but texels are on ", texels.device());
}

// What render() wrote for the same inputs, and gradients of it.
inline void check_images(const Tensor& texels, int64_t channels, const Tensor& grad_color,
                         const Tensor& grad_transmittance, const Tensor& out_color, const Tensor& out_transmittance,
                         const Tensor& out_last) {
  TORCH_CHECK_VALUE(out_transmittance.dim() == 2, "diffbmp: transmittance has shape ", out_transmittance.sizes(),
                    ", not [H, W]");
  const int64_t height = out_transmittance.size(0), width = out_transmittance.size(1);
  check_like("the gradient of color", grad_color, {channels, height, width}, texels);
  check_like("the gradient of transmittance", grad_transmittance, {height, width}, texels);
  check_like("the rendered color", out_color, {channels, height, width}, texels);
  check_like("the rendered transmittance", out_transmittance, {height, width}, texels);
  TORCH_CHECK_TYPE(out_last.scalar_type() == at::kInt, "diffbmp: last is ", out_last.scalar_type(), ", not int32");
  TORCH_CHECK_VALUE(out_last.sizes() == out_transmittance.sizes() && out_last.device() == texels.device(),
                    "diffbmp: last does not match the rendered transmittance");
}

}  // namespace diffbmp
