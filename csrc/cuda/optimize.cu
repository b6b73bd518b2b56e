// The optimiser's iteration in two kernels: `descend` draws a tile, compares it with the target and adds up the
// gradients, and never stores a picture; `update` turns each instance's sums into a step of Adam and packs it for the
// next one. Sums are whole numbers, in units of 1 / kSumOne: their order does not matter, so a run repeats itself bit
// for bit.
#include "optimize_cuda.h"
#include "order.cuh"
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
  int32_t *order, *loads;  // [kOrdered]
  size_t bytes;
};

Memory lay_out_run(void* memory, int64_t count) {
  char* const begin = static_cast<char*>(memory);
  Memory out;
  out.clock = reinterpret_cast<Clock*>(begin);
  out.order = reinterpret_cast<int32_t*>(begin + 256);
  out.loads = out.order + kOrdered;
  char* const rest = reinterpret_cast<char*>(out.loads + kOrdered);
  out.drawn = lay_out(rest, count, kSumBytes);
  out.evaluated = lay_out(rest + out.drawn.bytes, count, 0);
  out.bytes = rest - begin + out.drawn.bytes + out.evaluated.bytes;
  return out;
}

__device__ __forceinline__ Whole whole(float value, float one) {
  return static_cast<Whole>(__float2ll_rn(value * one));
}

// The target at one pixel.
template <int C>
struct Wanted {
  float color[C];
  float transmittance, weight;
};

template <int C>
__device__ __forceinline__ Wanted<C> target_at(const Target& target, int64_t pixel, int64_t plane) {
  Wanted<C> out;
#pragma unroll
  for (int c = 0; c < C; ++c) out.color[c] = __ldg(target.color + c * plane + pixel);
  out.transmittance = __ldg(target.transmittance + pixel);
  out.weight = target.weight ? __ldg(target.weight + pixel) : 1.f;
  return out;
}

// The picture's difference from the target at one pixel becomes g and R, the derivatives of half the square of it.
template <int C>
__device__ __forceinline__ float compare(const Wanted<C>& wanted, float value, float hole, float (&color)[C],
                                         float transmittance, float* behind) {
  const float through = transmittance - wanted.transmittance;
  float by_transmittance = hole * through, sum = by_transmittance * through, over = 0;
#pragma unroll
  for (int c = 0; c < C; ++c) {
    const float difference = madd(through, value, color[c] - wanted.color[c]);
    sum = madd(difference, difference, sum);
    over += difference;
    color[c] = wanted.weight * difference;
  }
  by_transmittance = madd(value, over, by_transmittance);
  *behind = wanted.weight * by_transmittance;
  return wanted.weight * sum;
}

// Draws the block's tile and compares it: leaves g in state.color, R in `behind`, and adds the loss to *total. Pixels
// beyond the canvas take no part. Returns what draw_tile does.
template <int C, bool kMapped, int P, bool kRemember>
__device__ __forceinline__ int32_t draw_and_compare(const Drawing& drawing, const Loss& loss, const Pixels& at,
                                                    List* list, PixelState<C, P>& state,
                                                    float (&behind)[P], Whole* total) {
  const int32_t listed = draw_tile<C, kMapped, P, kRemember>(drawing, at, list, state);
  const int64_t plane = static_cast<int64_t>(drawing.height) * drawing.width;
  const auto inside = [&](int k) {
    return (at.column + right_of<P>(k) < drawing.width) & (at.row + below<P>(k) < drawing.height);
  };
  Wanted<C> wanted[P];  // all on the way before the first is looked at
#pragma unroll
  for (int k = 0; k < P; ++k) {
    const int64_t pixel = static_cast<int64_t>(at.row + below<P>(k)) * drawing.width + at.column + right_of<P>(k);
    wanted[k] = target_at<C>(loss.target, inside(k) ? pixel : 0, plane);
  }
  const float hole = loss.hole ? __ldg(loss.hole) : 0;
  float sum = 0;
#pragma unroll
  for (int k = 0; k < P; ++k) {
    const float square =
        compare<C>(wanted[k], loss.value, hole, state.color[k], state.transmittance[k], &behind[k]);
    sum += inside(k) ? square : 0;
    if (inside(k)) continue;
    behind[k] = 0;
    state.last[k] = drawing.count;
#pragma unroll
    for (int c = 0; c < C; ++c) state.color[k][c] = 0;
  }
  sum = reduce(sum);
  if (threadIdx.x % 32 == 0) atomicAdd(total, whole(sum, kLossOne));
  return listed;
}

template <int C, bool kMapped, int P>
__global__ void __launch_bounds__(kThreads, kGradientBlocks<P>)
    descend(Drawing drawing, Loss loss, Clock* __restrict__ clock, Whole* __restrict__ sums) {
  __shared__ List list;
  const Pixels at = my_pixels<P>(drawing);
  if (blockIdx.x == 0 && threadIdx.x == 0) clock->next = clock->step + 1;
  PixelState<C, P> state;
  float behind[P];
  const int32_t listed = draw_and_compare<C, kMapped, P, true>(drawing, loss, at, &list, state, behind, &clock->loss);
  const auto add = [&](int32_t i, int which, float value) {
    atomicAdd(sums + static_cast<int64_t>(i) * kSumStride + which, whole(value, kSumOne));
  };
  const auto differentiate = [&](auto* from) {
    differentiate_tile<C, kMapped, P>(drawing, at, from, state.color, behind, state.transmittance, state.last, add);
  };
  if (listed >= 0) {
    differentiate(static_cast<const Seen*>(&list));
  } else {
    differentiate(&list);
  }
}

template <int C, bool kMapped, int P>
__global__ void __launch_bounds__(kThreads, kDrawBlocks<P>)
    measure(Drawing drawing, Loss loss, Clock* __restrict__ clock) {
  __shared__ List list;
  const Pixels at = my_pixels<P>(drawing);
  PixelState<C, P> state;
  float behind[P];
  draw_and_compare<C, kMapped, P, false>(drawing, loss, at, &list, state, behind, &clock->error);
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
  Bitmaps<float> given = bitmaps;
  given.channels = C;  // a constant: colours stay in registers
  const float position[2] = {run.ratio * values.of[0], run.ratio * values.of[1]};
  const int32_t bitmap = run.bitmap[i];
  const bool known = bitmap >= 0 && bitmap < bitmaps.count;
  const float scale = known ? run.ratio * expf(values.of[3]) / run.sides[bitmap] : 0;
  float color[C];
#pragma unroll
  for (int c = 0; c < C; ++c) color[c] = 1 / (1 + expf(-values.of[kPlaced + c]));
  const Instances<float> one = {1,
                                position,
                                values.of + 2,
                                &scale,
                                values.of + 4,
                                color,
                                &bitmap,
                                run.stretch ? run.stretch + 4 * i : nullptr,
                                run.mu_blend ? run.mu_blend + i : nullptr};
  pack_instance(given, one, canvas, 0, workspace.packed + i, workspace.boxes + i, workspace.fourth + i);
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

// The lanes that work on one instance, a value each.
constexpr int kUpdateLanes = 16;
static_assert(kPlaced + kMaxChannels <= kUpdateLanes && kSumColor == kPlaced, "a sum and a value to each lane");

// `scale`: of the loss that was summed, to that of a mean of squares; `unit`: the same for gradients.
template <int C>
__global__ void update(Bitmaps<float> bitmaps, Optimization run, Canvas canvas, const __grid_constant__ Adam adam,
                       double scale, float unit, Clock* __restrict__ clock, Workspace workspace) {
  const int64_t thread = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x;
  const int64_t i = thread / kUpdateLanes, rows = kPlaced + C;
  const int k = thread % kUpdateLanes;
  const int64_t step = clock->next;
  if (thread == 0) {
    run.report[kStep] = static_cast<double>(step);
    run.report[kLoss] = static_cast<double>(clock->loss) * scale;
    clock->step = step;
    clock->loss = 0;
  }
  const bool mine = i < run.count && k < rows;
  float value = 0;
  if (mine) {
    Whole* const sums = static_cast<Whole*>(workspace.sums) + i * kSumStride + k;
    float* const at = run.state + k * run.count + i;
    float* const first = at + rows * run.count;
    float* const second = first + rows * run.count;
    const float sum = static_cast<float>(static_cast<long long>(*sums)) * unit;
    const float moment = *first, square = *second;
    value = *at;
    *sums = 0;
    // The chain rule: of the derivatives by position, rotation, log size, opacity logit and colour logits.
    const float mu_blend = run.mu_blend ? run.mu_blend[i] : static_cast<float>(canvas.mu_blend);
    const float below = 1 / (1 + expf(value)), above = 1 / (1 + expf(-value));
    const float gradient = sum * (k == 2   ? 1
                                  : k < 2  ? -run.ratio
                                  : k == 3 ? -1
                                  : k == 4 ? below
                                           : (1 - mu_blend) * above * below);
    const float turn = static_cast<float>(step);
    const float rate = adam.rates[k < 2 ? 0 : k < kPlaced ? k - 1 : 4] * adam.schedule[smaller(step, adam.steps) - 1];
    const float first_bias = -expm1f(turn * log1pf(adam.beta1 - 1));
    const float second_bias = -expm1f(turn * log1pf(adam.beta2 - 1));
    const float new_moment = madd(adam.beta1, moment, (1 - adam.beta1) * gradient);
    const float new_square = madd(adam.beta2, square, (1 - adam.beta2) * gradient * gradient);
    *first = new_moment, *second = new_square;
    value -= rate / first_bias * new_moment / (sqrtf(new_square / second_bias) + kEpsilon);
    float low = k == 3 ? adam.log_size_low : -HUGE_VALF, high = k == 3 ? adam.log_size_high : HUGE_VALF;
    if (run.limits) low = run.limits[k * run.count + i], high = run.limits[(rows + k) * run.count + i];
    value = smaller(larger(value, low), high);
  }
  const float reach = expf(__shfl_sync(kAll, value, 3, kUpdateLanes)) / 2;
  if (k < 2 && !run.limits) {
    const float side = static_cast<float>(k == 0 ? canvas.width : canvas.height) / run.ratio;
    value = smaller(larger(value, -reach), side + reach);
  }
  if (mine) run.state[k * run.count + i] = value;
  Values<C> values;
#pragma unroll
  for (int other = 0; other < kPlaced + C; ++other) values.of[other] = __shfl_sync(kAll, value, other, kUpdateLanes);
  if (mine && k == 0) pack_values<C>(bitmaps, run, canvas, values, i, workspace);
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

// Of the sum of squares to their mean.
double mean(const Loss& loss, const Canvas& canvas) {
  const double pixels = static_cast<double>(canvas.height) * static_cast<double>(canvas.width);
  return 1 / (static_cast<double>(loss.planes) * pixels);
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
  return mark(drawing_of(bitmaps, run.count, run.mu_blend, canvas, workspace), workspace, stream);
}

template <int C, bool kMapped>
cudaError_t step(const Bitmaps<float>& bitmaps, const Optimization& run, const Canvas& canvas, const Loss& loss,
                 const Adam& adam, const Memory& memory, cudaStream_t stream) {
  Drawing drawing = drawing_of(bitmaps, run.count, run.mu_blend, canvas, memory.drawn);
  const cudaError_t error = with_pixels_per_thread<kMapped>(canvas, [&](auto p) {
    constexpr int P = decltype(p)::value;
    if (tiles<P>(canvas) <= kOrdered) drawing.order = memory.order;
    descend<C, kMapped, P><<<tiles<P>(canvas), kThreads, 0, stream>>>(drawing, loss, memory.clock,
                                                                      static_cast<Whole*>(memory.drawn.sums));
  });
  if (error) return error;
  const double scale = mean(loss, canvas);
  update<C><<<larger(pack_blocks(run.count * kUpdateLanes), 1u), kPackThreads, 0, stream>>>(
      bitmaps, run, canvas, adam, scale / kLossOne, static_cast<float>(2 * scale / kSumOne), memory.clock,
      memory.drawn);
  return mark(drawing, memory.drawn, stream);
}

template <int C, bool kMapped>
cudaError_t evaluate(const Bitmaps<float>& bitmaps, const Optimization& run, const Canvas& canvas, const Loss& loss,
                     const Memory& memory, cudaStream_t stream) {
  if (const cudaError_t error = pack<C>(bitmaps, run, canvas, memory.evaluated, stream)) return error;
  const Drawing drawing = drawing_of(bitmaps, run.count, run.mu_blend, canvas, memory.evaluated);
  const cudaError_t error = with_pixels_per_thread<kMapped>(canvas, [&](auto p) {
    constexpr int P = decltype(p)::value;
    measure<C, kMapped, P><<<tiles<P>(canvas), kThreads, 0, stream>>>(drawing, loss, memory.clock);
  });
  if (error) return error;
  keep_best<<<1, 1024, 0, stream>>>(run, kPlaced + C, mean(loss, canvas) / kLossOne, memory.clock);
  return cudaGetLastError();
}

}  // namespace

size_t optimization_bytes(int64_t count) { return lay_out_run(nullptr, count).bytes; }

cudaError_t optimize_pack(const Bitmaps<float>& bitmaps, const Optimization& run, const Canvas& canvas,
                          cudaStream_t stream) {
  const Memory memory = lay_out_run(run.workspace, run.count);
  return with_look(bitmaps.channels, run.mu_blend, canvas, [&](auto c, auto mapped) {
    if (const cudaError_t error = pack<decltype(c)::value>(bitmaps, run, canvas, memory.drawn, stream)) return error;
    const Drawing drawing = drawing_of(bitmaps, run.count, run.mu_blend, canvas, memory.drawn);
    return make_order<decltype(mapped)::value>(drawing, canvas, memory.loads, memory.order, stream);
  });
}

cudaError_t optimize_step(const Bitmaps<float>& bitmaps, const Optimization& run, const Canvas& canvas,
                          const Loss& loss, const Adam& adam, cudaStream_t stream) {
  const Memory memory = lay_out_run(run.workspace, run.count);
  return with_look(bitmaps.channels, run.mu_blend, canvas, [&](auto c, auto mapped) {
    return step<decltype(c)::value, decltype(mapped)::value>(bitmaps, run, canvas, loss, adam, memory, stream);
  });
}

cudaError_t optimize_evaluate(const Bitmaps<float>& bitmaps, const Optimization& run, const Canvas& canvas,
                              const Loss& loss, cudaStream_t stream) {
  const Memory memory = lay_out_run(run.workspace, run.count);
  return with_look(bitmaps.channels, run.mu_blend, canvas, [&](auto c, auto mapped) {
    return evaluate<decltype(c)::value, decltype(mapped)::value>(bitmaps, run, canvas, loss, memory, stream);
  });
}

}  // namespace diffbmp::cuda
