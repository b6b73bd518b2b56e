// torch.ops.diffbmp on CUDA: checks, allocation, launch on torch's current stream. Nothing here waits for the device
// except `cells`, which reads the table of levels.
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include <optional>
#include <string>
#include <tuple>

#include "arguments.h"
#include "cuda/optimize_cuda.h"
#include "cuda/render_cuda.h"

namespace diffbmp {
namespace {

void check_launch(cudaError_t error) {
  TORCH_CHECK(error == cudaSuccess, "diffbmp: CUDA error: ", cudaGetErrorString(error));
}

cudaStream_t stream_of(const Tensor& tensor) { return c10::cuda::getCurrentCUDAStream(tensor.device().index()); }

Tensor bytes(int64_t count, const Tensor& like) { return at::empty({count}, like.options().dtype(at::kByte)); }

// Texels to what the CUDA kernels sample: (cells [1 or C + 1, K, 4], levels [P, L, kLevelFields] with offsets in
// cells). The colour planes are left out unless `colors`: mu_blend = 0 does not look at them.
std::tuple<Tensor, Tensor> cells_cuda(const Tensor& texels, const Tensor& levels, bool colors) {
  const c10::cuda::CUDAGuard guard(texels.device());
  check_texels(texels);
  TORCH_CHECK_TYPE(texels.scalar_type() == at::kFloat, "diffbmp: the CUDA kernels take float32, not ",
                   texels.scalar_type());
  check_bitmaps(texels.size(1), levels);
  const Tensor host = levels.cpu().contiguous(), from = texels.contiguous();
  check_levels(host, texels.size(1));
  const Level* const table = reinterpret_cast<const Level*>(host.const_data_ptr<int32_t>());
  const int64_t rows = host.size(0) * host.size(1), planes = colors ? texels.size(0) : 1;
  for (int64_t k = 0; k < rows; ++k) {
    const bool stored = table[k].x0 < table[k].x1 && table[k].y0 < table[k].y1;
    TORCH_CHECK_VALUE(!stored || std::max(table[k].width, table[k].height) <= cuda::kMostTexels, "diffbmp: a level of ",
                      table[k].width, " x ", table[k].height, " texels is too large for CUDA: ", cuda::kMostTexels,
                      " is the most");
  }
  Tensor moved = at::empty_like(host);
  const int64_t count =
      cuda::layout_cells(table, rows, reinterpret_cast<Level*>(moved.mutable_data_ptr<int32_t>()));
  TORCH_CHECK_VALUE(count <= INT32_MAX, "diffbmp: ", count, " texels are more than 2^31 - 1");
  const Tensor out = at::empty({planes, count, 4}, texels.options());
  const Tensor old_levels = host.to(texels.device()), new_levels = moved.to(texels.device());
  for (int64_t plane = 0; plane < planes; ++plane) {
    const int64_t source = plane == 0 ? texels.size(0) - 1 : plane - 1;
    check_launch(cuda::make_cells(from.const_data_ptr<float>() + source * texels.size(1),
                                  reinterpret_cast<const Level*>(old_levels.const_data_ptr<int32_t>()),
                                  reinterpret_cast<const Level*>(new_levels.const_data_ptr<int32_t>()), rows,
                                  out.mutable_data_ptr<float>() + plane * count * 4, stream_of(texels)));
  }
  return {out, new_levels};
}

// `mapped`: whether the colour planes are drawn.
void check_cells(const Tensor& cells, const Tensor& levels, int64_t channels, bool mapped) {
  TORCH_CHECK_TYPE(cells.scalar_type() == at::kFloat, "diffbmp: the CUDA kernels take float32, not ",
                   cells.scalar_type());
  TORCH_CHECK_VALUE(cells.dim() == 3 && cells.size(2) == 4 && cells.is_contiguous(),
                    "diffbmp: on CUDA, texels must be what diffbmp::cells made of them, not ", cells.sizes());
  check_bitmaps(cells.size(1), levels);
  TORCH_CHECK_VALUE(levels.device() == cells.device() && levels.is_contiguous(),
                    "diffbmp: on CUDA, levels must be what diffbmp::cells returned");
  TORCH_CHECK_VALUE(channels == 1 || channels == 3 || channels == 4, "diffbmp: ", channels,
                    " channels of colour are not 1, 3 or 4");
  TORCH_CHECK_VALUE(cells.size(0) == channels + 1 || (cells.size(0) == 1 && !mapped), "diffbmp: ", cells.size(0),
                    " planes of cells do not do for ", channels, " channels", mapped ? " and mu_blend" : "");
}

Arguments checked(const Tensor& cells, const Tensor& levels, const Tensor& position, const Tensor& rotation,
                  const Tensor& scale, const Tensor& opacity, const Tensor& color, const Tensor& bitmap, int64_t height,
                  int64_t width, double alpha_max, double mu_blend, const std::optional<Tensor>& stretch,
                  const std::optional<Tensor>& mu_blends) {
  const int64_t channels = color.dim() == 2 ? color.size(1) : 0;
  check_cells(cells, levels, channels, mu_blends || mu_blend > 0);
  check_instances(cells, channels, position, rotation, scale, opacity, color, bitmap, stretch, mu_blends);
  check_canvas(height, width, alpha_max, mu_blend);
  return {cells,
          levels,
          position.contiguous(),
          rotation.contiguous(),
          scale.contiguous(),
          opacity.contiguous(),
          color.contiguous(),
          bitmap.contiguous(),
          height,
          width,
          alpha_max,
          mu_blend,
          contiguous(stretch),
          contiguous(mu_blends)};
}

// Bytes that render() leaves for render_backward(); `mapped`: whether the bitmaps' own colours are drawn.
int64_t kept_bytes(int64_t count, int64_t height, int64_t width, bool mapped) {
  TORCH_CHECK_VALUE(count >= 0 && count <= INT32_MAX, "diffbmp: ", count, " instances");
  return static_cast<int64_t>(cuda::kept_bytes(count, {height, width, 1, 0}, mapped));
}

std::tuple<Tensor, Tensor, Tensor, Tensor> render_cuda(
    const Tensor& cells, const Tensor& levels, const Tensor& position, const Tensor& rotation, const Tensor& scale,
    const Tensor& opacity, const Tensor& color, const Tensor& bitmap, int64_t height, int64_t width, double alpha_max,
    double mu_blend, const std::optional<Tensor>& stretch, const std::optional<Tensor>& mu_blends) {
  const c10::cuda::CUDAGuard guard(cells.device());
  const Arguments in = checked(cells, levels, position, rotation, scale, opacity, color, bitmap, height, width,
                               alpha_max, mu_blend, stretch, mu_blends);
  const Tensor out = at::empty({in.channels(), height, width}, in.options());
  const Tensor transmittance = at::empty({height, width}, in.options());
  const Tensor last = at::empty({height, width}, in.options().dtype(at::kInt));
  const Tensor kept = bytes(kept_bytes(position.size(0), height, width, mu_blends || mu_blend > 0), cells);
  check_launch(cuda::render(
      in.bitmaps<float>(), in.instances<float>(), in.canvas(),
      {out.mutable_data_ptr<float>(), transmittance.mutable_data_ptr<float>(), last.mutable_data_ptr<int32_t>()},
      kept.mutable_data_ptr(), stream_of(cells)));
  return {out, transmittance, last, kept};
}

// There is no gradient by stretch: the last tensor is empty.
std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> render_backward_cuda(
    const Tensor& grad_color, const Tensor& grad_transmittance, const Tensor& out_color,
    const Tensor& out_transmittance, const Tensor& out_last, const Tensor& kept, const Tensor& cells,
    const Tensor& levels, const Tensor& position, const Tensor& rotation, const Tensor& scale, const Tensor& opacity,
    const Tensor& color, const Tensor& bitmap, double alpha_max, double mu_blend, const std::optional<Tensor>& stretch,
    const std::optional<Tensor>& mu_blends) {
  const c10::cuda::CUDAGuard guard(cells.device());
  check_images(cells, color.dim() == 2 ? color.size(1) : 0, grad_color, grad_transmittance, out_color,
               out_transmittance, out_last);
  const Arguments in = checked(cells, levels, position, rotation, scale, opacity, color, bitmap,
                               out_transmittance.size(0), out_transmittance.size(1), alpha_max, mu_blend, stretch,
                               mu_blends);
  const Tensor by_color = grad_color.contiguous(), by_transmittance = grad_transmittance.contiguous();
  const Tensor drawn = out_color.contiguous(), through = out_transmittance.contiguous(), last = out_last.contiguous();
  const auto format = at::MemoryFormat::Contiguous;
  const Tensor to_position = at::empty_like(in.position, format), to_rotation = at::empty_like(in.rotation, format);
  const Tensor to_scale = at::empty_like(in.scale, format), to_opacity = at::empty_like(in.opacity, format);
  const Tensor to_color = at::empty_like(in.color, format);
  const int64_t expected = kept_bytes(position.size(0), in.height, in.width, mu_blends || mu_blend > 0);
  TORCH_CHECK_VALUE(kept.scalar_type() == at::kByte && kept.device() == cells.device() && kept.is_contiguous() &&
                        kept.numel() == expected,
                    "diffbmp: kept is not what the forward pass left");
  const Tensor sums = bytes(cuda::sum_bytes(position.size(0)), cells);
  check_launch(cuda::render_backward(
      in.bitmaps<float>(), in.instances<float>(), in.canvas(),
      {drawn.const_data_ptr<float>(), through.const_data_ptr<float>(), last.data_ptr<int32_t>()},
      kept.const_data_ptr(), {by_color.const_data_ptr<float>(), by_transmittance.const_data_ptr<float>()},
      {to_position.mutable_data_ptr<float>(), to_rotation.mutable_data_ptr<float>(), to_scale.mutable_data_ptr<float>(),
       to_opacity.mutable_data_ptr<float>(), to_color.mutable_data_ptr<float>(), nullptr},
      sums.mutable_data_ptr(), stream_of(cells)));
  return {to_position, to_rotation, to_scale, to_opacity, to_color, at::empty({0}, in.options())};
}

// ---- the optimiser's iteration -------------------------------------------------------------------------------------

// A run's tensors: state [3, 5 + C, N] (values and Adam's two moments), best [5 + C, N] and best_bitmap [N], if any
// stretch [N, 2, 2], mu_blends [N] and limits [2, 5 + C, N], report
// float64 [kReportFields], workspace of optimize_workspace's size, zeros at first.
struct Run {
  cuda::Optimization optimization;
  Bitmaps<float> bitmaps;
  Canvas canvas;
};

Run checked_run(const Tensor& cells, const Tensor& levels, const Tensor& bitmap, const Tensor& sides,
                const Tensor& state, const Tensor& best, const Tensor& best_bitmap, const Tensor& report,
                const Tensor& workspace, const std::optional<Tensor>& stretch, const std::optional<Tensor>& mu_blends,
                const std::optional<Tensor>& limits, int64_t height, int64_t width, double alpha_max,
                double mu_blend, double ratio) {
  TORCH_CHECK_VALUE(ratio > 0 && ratio <= 1, "diffbmp: the ratio is ", ratio, ", not above 0 and at most 1");
  TORCH_CHECK_VALUE(state.dim() == 3 && state.size(0) == 3, "diffbmp: state has shape ", state.sizes(),
                    ", not [3, 5 + C, N]");
  const int64_t channels = state.size(1) - cuda::kPlaced, count = state.size(2);
  check_cells(cells, levels, channels, mu_blends || mu_blend > 0);
  check_canvas(height, width, alpha_max, mu_blend);
  TORCH_CHECK_VALUE(count <= INT32_MAX, "diffbmp: ", count, " instances are more than 2^31 - 1");
  check_like("state", state, state.sizes(), cells);
  check_like("best", best, {state.size(1), count}, cells);
  check_like("sides", sides, {levels.size(0)}, cells);
  const auto given = [&](const char* name, const std::optional<Tensor>& tensor, at::IntArrayRef shape) {
    if (!tensor) return static_cast<const float*>(nullptr);
    check_like(name, *tensor, shape, cells);
    TORCH_CHECK_VALUE(tensor->is_contiguous(), "diffbmp: the tensors of a run must be contiguous");
    return tensor->const_data_ptr<float>();
  };
  const float* const to_stretch = given("stretch", stretch, {count, 2, 2});
  const float* const to_mu_blends = given("mu_blends", mu_blends, {count});
  const float* const to_limits = given("limits", limits, {2, state.size(1), count});
  for (const Tensor& index : {bitmap, best_bitmap}) {
    TORCH_CHECK_VALUE(index.scalar_type() == at::kInt && index.dim() == 1 && index.size(0) == count &&
                          index.device() == cells.device(),
                      "diffbmp: bitmap is not int32 [", count, "] beside the cells");
  }
  TORCH_CHECK_VALUE(
      report.scalar_type() == at::kDouble && report.numel() == cuda::kReportFields && report.device() == cells.device(),
      "diffbmp: report is not float64 [", cuda::kReportFields, "] beside the cells");
  TORCH_CHECK_VALUE(workspace.scalar_type() == at::kByte && workspace.device() == cells.device() &&
                        workspace.numel() >= static_cast<int64_t>(cuda::optimization_bytes(count)),
                    "diffbmp: the workspace is too small");
  for (const Tensor& tensor : {bitmap, sides, state, best, best_bitmap, report, workspace}) {
    TORCH_CHECK_VALUE(tensor.is_contiguous(), "diffbmp: the tensors of a run must be contiguous");
  }
  return {{count, state.mutable_data_ptr<float>(), best.mutable_data_ptr<float>(), bitmap.const_data_ptr<int32_t>(),
           best_bitmap.mutable_data_ptr<int32_t>(), sides.const_data_ptr<float>(), to_stretch, to_mu_blends, to_limits,
           report.mutable_data_ptr<double>(), workspace.mutable_data_ptr(), static_cast<float>(ratio)},
          {levels.size(0), levels.size(1), cells.size(1), static_cast<int32_t>(channels), cells.const_data_ptr<float>(),
           reinterpret_cast<const Level*>(levels.const_data_ptr<int32_t>())},
          {height, width, std::min(alpha_max, kOpacityLimit), mu_blend}};
}

cuda::Target checked_target(const Tensor& cells, const Tensor& target, const std::optional<Tensor>& weight,
                            int64_t channels) {
  TORCH_CHECK_VALUE(target.dim() == 3 && target.size(0) == channels + 1 && target.is_contiguous(),
                    "diffbmp: the target has shape ", target.sizes(), ", not [C + 1, H, W]");
  check_like("target", target, target.sizes(), cells);
  const float* pixels = target.const_data_ptr<float>();
  const int64_t plane = target.size(1) * target.size(2);
  if (!weight) return {pixels, pixels + channels * plane, nullptr};
  check_like("weight", *weight, {target.size(1), target.size(2)}, cells);
  TORCH_CHECK_VALUE(weight->is_contiguous(), "diffbmp: the weight must be contiguous");
  return {pixels, pixels + channels * plane, weight->const_data_ptr<float>()};
}

int64_t optimize_workspace(int64_t count) {
  TORCH_CHECK_VALUE(count >= 0 && count <= INT32_MAX, "diffbmp: ", count, " instances");
  return static_cast<int64_t>(cuda::optimization_bytes(count));
}

void optimize_pack(const Tensor& cells, const Tensor& levels, const Tensor& bitmap, const Tensor& sides,
                   const Tensor& state, const Tensor& best, const Tensor& best_bitmap, const Tensor& report,
                   const Tensor& workspace, const std::optional<Tensor>& stretch,
                   const std::optional<Tensor>& mu_blends, const std::optional<Tensor>& limits, int64_t height,
                   int64_t width, double alpha_max, double mu_blend, double ratio) {
  const c10::cuda::CUDAGuard guard(cells.device());
  const Run run = checked_run(cells, levels, bitmap, sides, state, best, best_bitmap, report, workspace, stretch,
                              mu_blends, limits, height, width, alpha_max, mu_blend, ratio);
  check_launch(cuda::optimize_pack(run.bitmaps, run.optimization, run.canvas, stream_of(cells)));
}

void optimize_step(const Tensor& cells, const Tensor& levels, const Tensor& bitmap, const Tensor& sides,
                   const Tensor& state, const Tensor& best, const Tensor& best_bitmap, const Tensor& report,
                   const Tensor& workspace, const std::optional<Tensor>& stretch,
                   const std::optional<Tensor>& mu_blends, const std::optional<Tensor>& limits, const Tensor& target,
                   const std::optional<Tensor>& weight, double alpha_max, double mu_blend, double ratio,
                   double background_value, const std::optional<Tensor>& hole, int64_t planes,
                   at::ArrayRef<double> rates, const Tensor& schedule, at::ArrayRef<double> betas,
                   at::ArrayRef<double> sizes) {
  const c10::cuda::CUDAGuard guard(cells.device());
  const Run run = checked_run(cells, levels, bitmap, sides, state, best, best_bitmap, report, workspace, stretch,
                              mu_blends, limits, target.size(1), target.size(2), alpha_max, mu_blend, ratio);
  TORCH_CHECK_VALUE(rates.size() == 5 && betas.size() == 2 && sizes.size() == 2,
                    "diffbmp: 5 rates, 2 betas and 2 sizes are needed");
  check_like("schedule", schedule, {schedule.numel()}, cells);
  TORCH_CHECK_VALUE(schedule.numel() >= 1 && schedule.is_contiguous(), "diffbmp: the schedule has no steps");
  TORCH_CHECK_VALUE(planes >= 1 && planes <= kMaxChannels + 1, "diffbmp: the mean is not one of ", planes, " planes");
  if (hole) check_like("hole", *hole, {1}, cells);
  const cuda::Loss loss{checked_target(cells, target, weight, run.bitmaps.channels),
                        static_cast<float>(background_value), hole ? hole->const_data_ptr<float>() : nullptr,
                        static_cast<int32_t>(planes)};
  cuda::Adam adam{};
  for (int k = 0; k < 5; ++k) adam.rates[k] = static_cast<float>(rates[k]);
  adam.schedule = schedule.const_data_ptr<float>(), adam.steps = schedule.numel();
  adam.beta1 = static_cast<float>(betas[0]), adam.beta2 = static_cast<float>(betas[1]);
  adam.log_size_low = static_cast<float>(sizes[0]), adam.log_size_high = static_cast<float>(sizes[1]);
  check_launch(cuda::optimize_step(run.bitmaps, run.optimization, run.canvas, loss, adam, stream_of(cells)));
}

void optimize_evaluate(const Tensor& cells, const Tensor& levels, const Tensor& bitmap, const Tensor& sides,
                       const Tensor& state, const Tensor& best, const Tensor& best_bitmap, const Tensor& report,
                       const Tensor& workspace, const std::optional<Tensor>& stretch,
                       const std::optional<Tensor>& mu_blends, const std::optional<Tensor>& limits,
                       const Tensor& target, const std::optional<Tensor>& weight, double alpha_max, double mu_blend,
                       double background_value) {
  const c10::cuda::CUDAGuard guard(cells.device());
  const Run run = checked_run(cells, levels, bitmap, sides, state, best, best_bitmap, report, workspace, stretch,
                              mu_blends, limits, target.size(1), target.size(2), alpha_max, mu_blend, 1);
  const cuda::Loss loss{checked_target(cells, target, weight, run.bitmaps.channels),
                        static_cast<float>(background_value), nullptr, run.bitmaps.channels};
  check_launch(cuda::optimize_evaluate(run.bitmaps, run.optimization, run.canvas, loss, stream_of(cells)));
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(diffbmp, m) {
  const std::string run =
      "(Tensor cells, Tensor levels, Tensor bitmap, Tensor sides, Tensor(a!) state, Tensor(b!) best, "
      "Tensor(c!) best_bitmap, Tensor(d!) report, Tensor(e!) workspace, Tensor? stretch, Tensor? mu_blends, "
      "Tensor? limits, ";
  const auto define = [&](const std::string& name, const std::string& rest) {
    m.def(torch::schema((name + run + rest + ") -> ()").c_str()));
  };
  m.def("cells(Tensor texels, Tensor levels, bool colors) -> (Tensor cells, Tensor levels)");
  m.def("kept_bytes(int count, int height, int width, bool mapped) -> int", &kept_bytes);
  m.def("optimize_workspace(int count) -> int", &optimize_workspace);
  define("optimize_pack", "int height, int width, float alpha_max, float mu_blend, float ratio");
  define("optimize_step",
         "Tensor target, Tensor? weight, float alpha_max, float mu_blend, float ratio, float background_value, "
         "Tensor? hole, int planes, float[] rates, Tensor schedule, float[] betas, float[] sizes");
  define("optimize_evaluate", "Tensor target, Tensor? weight, float alpha_max, float mu_blend, float background_value");
}

TORCH_LIBRARY_IMPL(diffbmp, CUDA, m) {
  m.impl("render", &render_cuda);
  m.impl("render_backward", &render_backward_cuda);
  m.impl("cells", &cells_cuda);
  m.impl("optimize_pack", &optimize_pack);
  m.impl("optimize_step", &optimize_step);
  m.impl("optimize_evaluate", &optimize_evaluate);
}

}  // namespace diffbmp
