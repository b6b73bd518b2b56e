// The optimiser's iteration in two kernels: `descend` draws a tile, compares it with the target and adds up the
// gradients, and never stores a picture; `update` turns each instance's sums into a step of Adam and packs it for the
// next one. Sums are whole numbers, in units of 1 / kSumOne: their order does not matter, so a run repeats itself bit
// for bit.
#include "optimize_cuda.h"
#include "pack.cuh"
#include "philox.cuh"
#include "pixels.cuh"

namespace diffbmp::cuda {
namespace {

using Whole = unsigned long long;  // two's complement: sums may be negative

// Gradients are summed for a loss that is the plain sum of squares / 2, so that they are of the order of 1 per pixel.
constexpr float kSumOne = 1 << 24;
constexpr float kLossOne = 1 << 28;
constexpr size_t kSumBytes = kSumStride * sizeof(Whole);
constexpr float kEpsilon = 1e-8f;  // Adam's

// What the kernels of a run tell each other. No kernel writes what it or its like read.
struct Clock {
  int64_t step;  // steps done: read by descend, written by update
  int64_t next;  // and the other way round
  Whole loss;    // sums of squares: of the step under way,
  Whole error;   // and of the evaluation
};

struct Memory {
  Workspace drawn, evaluated;
  Clock* clock;
  size_t bytes;
};

Memory lay_out_run(void* memory, int64_t count) {
  char* const begin = static_cast<char*>(memory);
  Memory out;
  out.clock = reinterpret_cast<Clock*>(begin);
  out.drawn = lay_out(begin + 256, count, kSumBytes);
  out.evaluated = lay_out(begin + 256 + out.drawn.bytes, count, 0);
  out.bytes = 256 + out.drawn.bytes + out.evaluated.bytes;
  return out;
}

__device__ __forceinline__ Whole whole(float value, float one) {
  return static_cast<Whole>(__float2ll_rn(value * one));
}

// The picture's difference from the target at one pixel becomes g and R, the derivatives of half the square of it.
template <int C>
__device__ __forceinline__ float compare(const Loss& loss, int64_t step, int64_t pixel, int64_t plane,
                                         float (&color)[C], float transmittance, float* behind) {
  const float through = transmittance - __ldg(loss.target.transmittance + pixel);
  float background[4] = {loss.value, loss.value, loss.value, loss.value};
  if (loss.background == Background::kNoise) {
    const float4 noise = noise_at(loss.seed, step, pixel);
    background[0] = noise.x, background[1] = noise.y, background[2] = noise.z, background[3] = noise.w;
  }
  const bool transparent = loss.background == Background::kTransparent;
  const float weight = loss.target.weight ? __ldg(loss.target.weight + pixel) : 1.f;
  float sum = transparent ? through * through : 0.f, by_transmittance = transparent ? through : 0.f;
#pragma unroll
  for (int c = 0; c < C; ++c) {
    float difference = color[c] - __ldg(loss.target.color + c * plane + pixel);
    if (!transparent) difference = madd(through, background[c], difference);
    sum = madd(difference, difference, sum);
    if (!transparent) by_transmittance = madd(difference, background[c], by_transmittance);
    color[c] = weight * difference;
  }
  *behind = weight * by_transmittance;
  return weight * sum;
}

// Draws the block's tile and compares it: leaves g in state.color, R in `behind`, and adds the loss to *total. Pixels
// beyond the canvas take no part.
template <int C, bool kMapped, int P>
__device__ __forceinline__ void draw_and_compare(const Drawing& drawing, const Loss& loss, int64_t step,
                                                 const Pixels& at, List* list, PixelState<C, P>& state,
                                                 float (&behind)[P], Whole* total) {
  draw_tile<C, kMapped, P>(drawing, at, list, state);
  const int64_t plane = static_cast<int64_t>(drawing.height) * drawing.width;
  float sum = 0;
#pragma unroll
  for (int k = 0; k < P; ++k) {
    const int32_t column = at.column + right_of(k), row = at.row + below(k);
    behind[k] = 0;
    if (column < drawing.width && row < drawing.height) {
      const int64_t pixel = static_cast<int64_t>(row) * drawing.width + column;
      sum += compare<C>(loss, step, pixel, plane, state.color[k], state.transmittance[k], &behind[k]);
    } else {
#pragma unroll
      for (int c = 0; c < C; ++c) state.color[k][c] = 0;
      state.last[k] = drawing.count;
    }
  }
  sum = reduce(sum);
  if (threadIdx.x % 32 == 0) atomicAdd(total, whole(sum, kLossOne));
}

template <int C, bool kMapped, int P>
__global__ void __launch_bounds__(kThreads, kGradientBlocks<P>)
    descend(Drawing drawing, Loss loss, Clock* __restrict__ clock, Whole* __restrict__ sums) {
  __shared__ List list;
  const Pixels at = my_pixels<P>(drawing);
  const int64_t step = clock->step;
  if (blockIdx.x == 0 && threadIdx.x == 0) clock->next = step + 1;
  PixelState<C, P> state;
  float behind[P];
  draw_and_compare<C, kMapped, P>(drawing, loss, step, at, &list, state, behind, &clock->loss);
  differentiate_tile<C, kMapped, P>(drawing, at, &list, list.complete, state.color, behind, state.transmittance,
                                    state.last, [&](int32_t i, int which, float value) {
                                      atomicAdd(sums + static_cast<int64_t>(i) * kSumStride + which,
                                                whole(value, kSumOne));
                                    });
}

template <int C, bool kMapped, int P>
__global__ void __launch_bounds__(kThreads, kDrawBlocks<P>)
    measure(Drawing drawing, Loss loss, Clock* __restrict__ clock) {
  __shared__ List list;
  const Pixels at = my_pixels<P>(drawing);
  PixelState<C, P> state;
  float behind[P];
  draw_and_compare<C, kMapped, P>(drawing, loss, 0, at, &list, state, behind, &clock->error);
}

template <int C>
struct Values {
  float of[kPlaced + C];
};

// The values of a state as an instance, placed and packed.
template <int C>
__device__ __forceinline__ void pack_values(const Bitmaps<float>& bitmaps, const Optimization& run,
                                            const Canvas& canvas, const Values<C>& values, int64_t i,
                                            const Workspace& workspace) {
  const int32_t bitmap = run.bitmap[i];
  const bool known = bitmap >= 0 && bitmap < bitmaps.count;
  const float scale = known ? expf(values.of[3]) / run.sides[bitmap] : 0;
  float color[C];
#pragma unroll
  for (int c = 0; c < C; ++c) color[c] = 1 / (1 + expf(-values.of[kPlaced + c]));
  const Instances<float> one = {1, values.of, values.of + 2, &scale, values.of + 4, color, &bitmap};
  pack_instance(bitmaps, one, canvas, 0, workspace.packed + i, workspace.boxes + i);
}

template <int C>
__global__ void pack_state(Bitmaps<float> bitmaps, Optimization run, Canvas canvas, Workspace workspace) {
  const int64_t i = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x;
  if (i >= run.count) return;
  Values<C> values;
#pragma unroll
  for (int k = 0; k < kPlaced + C; ++k) values.of[k] = run.state[k * run.count + i];
  pack_values<C>(bitmaps, run, canvas, values, i, workspace);
}

// `scale`: of the loss that was summed, to that of a mean of squares; `unit`: the same for gradients.
template <int C>
__global__ void update(Bitmaps<float> bitmaps, Optimization run, Canvas canvas, Adam adam, double scale, float unit,
                       Clock* __restrict__ clock, Workspace workspace) {
  const int64_t i = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x;
  const int64_t step = clock->next;
  if (i == 0) {
    run.report[kStep] = static_cast<double>(step);
    run.report[kLoss] = static_cast<double>(clock->loss) * scale;
    clock->step = step;
    clock->loss = 0;
  }
  if (i >= run.count) return;
  Whole* const sums = static_cast<Whole*>(workspace.sums) + i * kSumStride;
  float sum[kSumColor + C];
#pragma unroll
  for (int k = 0; k < kSumColor + C; ++k)
    sum[k] = static_cast<float>(static_cast<long long>(sums[k])) * unit, sums[k] = 0;

  const int64_t rows = kPlaced + C;
  Values<C> values;
#pragma unroll
  for (int k = 0; k < kPlaced + C; ++k) values.of[k] = run.state[k * run.count + i];
  // The chain rule: of the derivatives by position, rotation, log size, opacity logit and colour logits.
  const float shown = 1 / (1 + expf(values.of[4]));
  float gradient[kPlaced + C] = {-sum[0], -sum[1], sum[2], -sum[3], sum[kSumOpacity] * shown};
#pragma unroll
  for (int c = 0; c < C; ++c) {
    const float color = 1 / (1 + expf(-values.of[kPlaced + c]));
    gradient[kPlaced + c] = (1 - static_cast<float>(canvas.mu_blend)) * sum[kSumColor + c] * color * (1 - color);
  }
  const float turn = static_cast<float>(step);
  const float rate = adam.schedule[smaller(step, adam.steps) - 1];
  const float first_bias = -expm1f(turn * log1pf(adam.beta1 - 1)), second_bias = -expm1f(turn * log1pf(adam.beta2 - 1));
  const float root = sqrtf(second_bias);
#pragma unroll
  for (int k = 0; k < kPlaced + C; ++k) {
    float& first = run.state[(rows + k) * run.count + i];
    float& second = run.state[(2 * rows + k) * run.count + i];
    const float moment = madd(adam.beta1, first, (1 - adam.beta1) * gradient[k]);
    const float square = madd(adam.beta2, second, (1 - adam.beta2) * gradient[k] * gradient[k]);
    first = moment, second = square;
    const float start = adam.rates[k < 2 ? 0 : k < kPlaced ? k - 1 : 4];
    values.of[k] -= start * rate / first_bias * moment / (sqrtf(square) / root + kEpsilon);
  }
  values.of[3] = smaller(larger(values.of[3], adam.log_size_low), adam.log_size_high);
  const float reach = expf(values.of[3]) / 2;
  values.of[0] = smaller(larger(values.of[0], -reach), static_cast<float>(canvas.width) + reach);
  values.of[1] = smaller(larger(values.of[1], -reach), static_cast<float>(canvas.height) + reach);
#pragma unroll
  for (int k = 0; k < kPlaced + C; ++k) run.state[k * run.count + i] = values.of[k];
  pack_values<C>(bitmaps, run, canvas, values, i, workspace);
}

// Takes the evaluation into the report, and the state if it is the best so far. One block.
__global__ void keep_best(Optimization run, int64_t rows, double scale, Clock* __restrict__ clock) {
  const double error = static_cast<double>(clock->error) * scale;
  const bool better = error < run.report[kBestError];
  __syncthreads();
  if (threadIdx.x == 0) {
    run.report[kError] = error;
    if (better) run.report[kBestError] = error, run.report[kBestStep] = static_cast<double>(clock->step);
    clock->error = 0;
  }
  if (!better) return;
  for (int64_t k = threadIdx.x; k < rows * run.count; k += blockDim.x) run.best[k] = run.state[k];
  for (int64_t i = threadIdx.x; i < run.count; i += blockDim.x) run.best_bitmap[i] = run.bitmap[i];
}

__global__ void write_noise(float* __restrict__ out, int64_t channels, int64_t pixels, uint64_t seed, int64_t step) {
  const int64_t pixel = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x;
  if (pixel >= pixels) return;
  const float4 noise = noise_at(seed, step, pixel);
  const float values[4] = {noise.x, noise.y, noise.z, noise.w};
  for (int64_t c = 0; c < channels; ++c) out[c * pixels + pixel] = values[c];
}

// Of the sum of squares to their mean.
double mean(const Loss& loss, int64_t channels, const Canvas& canvas) {
  const int64_t planes = loss.background == Background::kTransparent ? channels + 1 : channels;
  return 1 / (static_cast<double>(planes) * static_cast<double>(canvas.height) * static_cast<double>(canvas.width));
}

cudaError_t mark(const Drawing& drawing, const Workspace& workspace, cudaStream_t stream) {
  if (workspace.sections) {
    mark_sections<<<pack_blocks(drawing.count), kPackThreads, 0, stream>>>(drawing, workspace.sections);
  }
  return cudaGetLastError();
}

template <int C>
cudaError_t pack(const Bitmaps<float>& bitmaps, const Optimization& run, const Canvas& canvas,
                 const Workspace& workspace, cudaStream_t stream) {
  if (run.count == 0) return cudaSuccess;
  pack_state<C><<<pack_blocks(run.count), kPackThreads, 0, stream>>>(bitmaps, run, canvas, workspace);
  return mark(drawing_of(bitmaps, run.count, canvas, workspace), workspace, stream);
}

template <int C, bool kMapped>
cudaError_t step(const Bitmaps<float>& bitmaps, const Optimization& run, const Canvas& canvas, const Loss& loss,
                 const Adam& adam, const Memory& memory, cudaStream_t stream) {
  const Drawing drawing = drawing_of(bitmaps, run.count, canvas, memory.drawn);
  const cudaError_t error = with_pixels_per_thread<kMapped>(canvas, [&](auto p) {
    constexpr int P = decltype(p)::value;
    descend<C, kMapped, P><<<tiles<P>(canvas), kThreads, 0, stream>>>(drawing, loss, memory.clock,
                                                                      static_cast<Whole*>(memory.drawn.sums));
  });
  if (error) return error;
  const double scale = mean(loss, C, canvas);
  update<C><<<larger(pack_blocks(run.count), 1u), kPackThreads, 0, stream>>>(
      bitmaps, run, canvas, adam, scale / kLossOne, static_cast<float>(2 * scale / kSumOne), memory.clock,
      memory.drawn);
  return mark(drawing, memory.drawn, stream);
}

template <int C, bool kMapped>
cudaError_t evaluate(const Bitmaps<float>& bitmaps, const Optimization& run, const Canvas& canvas, const Loss& loss,
                     const Memory& memory, cudaStream_t stream) {
  if (const cudaError_t error = pack<C>(bitmaps, run, canvas, memory.evaluated, stream)) return error;
  const Drawing drawing = drawing_of(bitmaps, run.count, canvas, memory.evaluated);
  const cudaError_t error = with_pixels_per_thread<kMapped>(canvas, [&](auto p) {
    constexpr int P = decltype(p)::value;
    measure<C, kMapped, P><<<tiles<P>(canvas), kThreads, 0, stream>>>(drawing, loss, memory.clock);
  });
  if (error) return error;
  keep_best<<<1, 1024, 0, stream>>>(run, kPlaced + C, mean(loss, C, canvas) / kLossOne, memory.clock);
  return cudaGetLastError();
}

}  // namespace

size_t optimization_bytes(int64_t count) { return lay_out_run(nullptr, count).bytes; }

cudaError_t optimize_pack(const Bitmaps<float>& bitmaps, const Optimization& run, const Canvas& canvas,
                          cudaStream_t stream) {
  const Memory memory = lay_out_run(run.workspace, run.count);
  switch (bitmaps.channels) {
    case 1:
      return pack<1>(bitmaps, run, canvas, memory.drawn, stream);
    case 3:
      return pack<3>(bitmaps, run, canvas, memory.drawn, stream);
    case 4:
      return pack<4>(bitmaps, run, canvas, memory.drawn, stream);
  }
  return cudaErrorInvalidValue;
}

cudaError_t optimize_step(const Bitmaps<float>& bitmaps, const Optimization& run, const Canvas& canvas,
                          const Loss& loss, const Adam& adam, cudaStream_t stream) {
  const Memory memory = lay_out_run(run.workspace, run.count);
  const bool mapped = canvas.mu_blend > 0;
  switch (bitmaps.channels) {
    case 1:
      return mapped ? step<1, true>(bitmaps, run, canvas, loss, adam, memory, stream)
                    : step<1, false>(bitmaps, run, canvas, loss, adam, memory, stream);
    case 3:
      return mapped ? step<3, true>(bitmaps, run, canvas, loss, adam, memory, stream)
                    : step<3, false>(bitmaps, run, canvas, loss, adam, memory, stream);
    case 4:
      return mapped ? step<4, true>(bitmaps, run, canvas, loss, adam, memory, stream)
                    : step<4, false>(bitmaps, run, canvas, loss, adam, memory, stream);
  }
  return cudaErrorInvalidValue;
}

cudaError_t optimize_evaluate(const Bitmaps<float>& bitmaps, const Optimization& run, const Canvas& canvas,
                              const Loss& loss, cudaStream_t stream) {
  const Memory memory = lay_out_run(run.workspace, run.count);
  const bool mapped = canvas.mu_blend > 0;
  switch (bitmaps.channels) {
    case 1:
      return mapped ? evaluate<1, true>(bitmaps, run, canvas, loss, memory, stream)
                    : evaluate<1, false>(bitmaps, run, canvas, loss, memory, stream);
    case 3:
      return mapped ? evaluate<3, true>(bitmaps, run, canvas, loss, memory, stream)
                    : evaluate<3, false>(bitmaps, run, canvas, loss, memory, stream);
    case 4:
      return mapped ? evaluate<4, true>(bitmaps, run, canvas, loss, memory, stream)
                    : evaluate<4, false>(bitmaps, run, canvas, loss, memory, stream);
  }
  return cudaErrorInvalidValue;
}

cudaError_t noise(float* out, int64_t channels, int64_t pixels, uint64_t seed, int64_t step, cudaStream_t stream) {
  write_noise<<<static_cast<unsigned>((pixels + 255) / 256), 256, 0, stream>>>(out, channels, pixels, seed, step);
  return cudaGetLastError();
}

}  // namespace diffbmp::cuda
