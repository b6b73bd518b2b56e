// torch.ops.diffbmp: the operators' signatures, and their CPU side: checks, allocation, dispatch by type.
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <torch/library.h>

#include <tuple>

#include "arguments.h"

namespace diffbmp {
namespace {

// Contiguous copies where they are needed, and nothing that a kernel would have to distrust.
Arguments checked(const Tensor& texels, const Tensor& levels, const Tensor& position, const Tensor& rotation,
                  const Tensor& scale, const Tensor& opacity, const Tensor& color, const Tensor& bitmap, int64_t height,
                  int64_t width, double alpha_max, double mu_blend, const std::optional<Tensor>& stretch,
                  const std::optional<Tensor>& mu_blends) {
  check_texels(texels);
  check_bitmaps(texels.size(1), levels);
  check_instances(texels, texels.size(0) - 1, position, rotation, scale, opacity, color, bitmap, stretch,
                  mu_blends);
  check_canvas(height, width, alpha_max, mu_blend);
  Arguments out{texels.contiguous(),  levels.cpu().contiguous(), position.contiguous(), rotation.contiguous(),
                scale.contiguous(),   opacity.contiguous(),      color.contiguous(),    bitmap.contiguous(),
                height,               width,                     alpha_max,             mu_blend,
                contiguous(stretch),  contiguous(mu_blends)};
  check_levels(out.levels, texels.size(1));
  const int32_t* index = out.bitmap.const_data_ptr<int32_t>();
  for (int64_t i = 0; i < bitmap.size(0); ++i) {
    TORCH_CHECK_INDEX(index[i] >= 0 && index[i] < levels.size(0), "diffbmp: instance ", i, " uses bitmap ", index[i],
                      ", but there are ", levels.size(0));
  }
  return out;
}

std::tuple<Tensor, Tensor, Tensor, Tensor> render_cpu(
    const Tensor& texels, const Tensor& levels, const Tensor& position, const Tensor& rotation, const Tensor& scale,
    const Tensor& opacity, const Tensor& color, const Tensor& bitmap, int64_t height, int64_t width, double alpha_max,
    double mu_blend, const std::optional<Tensor>& stretch, const std::optional<Tensor>& mu_blends) {
  const Arguments in = checked(texels, levels, position, rotation, scale, opacity, color, bitmap, height, width,
                               alpha_max, mu_blend, stretch, mu_blends);
  const Tensor out = at::empty({in.channels(), height, width}, in.options());
  const Tensor transmittance = at::empty({height, width}, in.options());
  const Tensor last = at::empty({height, width}, in.options().dtype(at::kInt));
  const auto run = [&](auto zero) {
    using T = decltype(zero);
    cpu::render<T>(in.bitmaps<T>(), in.instances<T>(), in.canvas(),
                   {out.mutable_data_ptr<T>(), transmittance.mutable_data_ptr<T>(), last.mutable_data_ptr<int32_t>()});
  };
  texels.scalar_type() == at::kFloat ? run(0.0f) : run(0.0);
  return {out, transmittance, last, at::empty({0}, in.options().dtype(at::kByte))};
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> render_backward_cpu(
    const Tensor& grad_color, const Tensor& grad_transmittance, const Tensor& out_color,
    const Tensor& out_transmittance, const Tensor& out_last, const Tensor& /* kept: nothing */, const Tensor& texels,
    const Tensor& levels, const Tensor& position, const Tensor& rotation, const Tensor& scale, const Tensor& opacity,
    const Tensor& color, const Tensor& bitmap, double alpha_max, double mu_blend, const std::optional<Tensor>& stretch,
    const std::optional<Tensor>& mu_blends) {
  check_images(texels, color.dim() == 2 ? color.size(1) : 0, grad_color, grad_transmittance, out_color,
               out_transmittance, out_last);
  const int64_t height = out_transmittance.size(0), width = out_transmittance.size(1);
  const Arguments in = checked(texels, levels, position, rotation, scale, opacity, color, bitmap, height, width,
                               alpha_max, mu_blend, stretch, mu_blends);
  const Tensor by_color = grad_color.contiguous(), by_transmittance = grad_transmittance.contiguous();
  const Tensor drawn = out_color.contiguous(), through = out_transmittance.contiguous(), last = out_last.contiguous();
  const auto format = at::MemoryFormat::Contiguous;
  const Tensor to_position = at::empty_like(in.position, format), to_rotation = at::empty_like(in.rotation, format);
  const Tensor to_scale = at::empty_like(in.scale, format), to_opacity = at::empty_like(in.opacity, format);
  const Tensor to_color = at::empty_like(in.color, format);
  const Tensor to_stretch = in.stretch ? at::empty_like(*in.stretch, format) : at::empty({0}, in.options());
  const auto run = [&](auto zero) {
    using T = decltype(zero);
    cpu::render_backward<T>(
        in.bitmaps<T>(), in.instances<T>(), in.canvas(),
        {drawn.const_data_ptr<T>(), through.const_data_ptr<T>(), last.data_ptr<int32_t>()},
        {by_color.const_data_ptr<T>(), by_transmittance.const_data_ptr<T>()},
        {to_position.mutable_data_ptr<T>(), to_rotation.mutable_data_ptr<T>(), to_scale.mutable_data_ptr<T>(),
         to_opacity.mutable_data_ptr<T>(), to_color.mutable_data_ptr<T>(),
         in.stretch ? to_stretch.mutable_data_ptr<T>() : nullptr});
  };
  texels.scalar_type() == at::kFloat ? run(0.0f) : run(0.0);
  return {to_position, to_rotation, to_scale, to_opacity, to_color, to_stretch};
}

}  // namespace

// `kept` is for the way back alone, and empty on the CPU.
TORCH_LIBRARY(diffbmp, m) {
  m.def(
      "render(Tensor texels, Tensor levels, Tensor position, Tensor rotation, Tensor scale, Tensor opacity, "
      "Tensor color, Tensor bitmap, SymInt height, SymInt width, float alpha_max, float mu_blend, "
      "Tensor? stretch=None, Tensor? mu_blends=None) "
      "-> (Tensor color, Tensor transmittance, Tensor last, Tensor kept)");
  m.def(
      "render_backward(Tensor grad_color, Tensor grad_transmittance, Tensor out_color, Tensor out_transmittance, "
      "Tensor out_last, Tensor kept, Tensor texels, Tensor levels, Tensor position, Tensor rotation, Tensor scale, "
      "Tensor opacity, Tensor color, Tensor bitmap, float alpha_max, float mu_blend, Tensor? stretch=None, "
      "Tensor? mu_blends=None) "
      "-> (Tensor position, Tensor rotation, Tensor scale, Tensor opacity, Tensor color, Tensor stretch)");
}

TORCH_LIBRARY_IMPL(diffbmp, CPU, m) {
  m.impl("render", &render_cpu);
  m.impl("render_backward", &render_backward_cpu);
}

}  // namespace diffbmp
