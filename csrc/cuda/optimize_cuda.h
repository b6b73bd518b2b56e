// The optimiser's whole iteration on the GPU: render, mean squared error, gradients, Adam, bounds. Every call
// only launches kernels that take turns over a run's state, so that any number of them can be captured in a CUDA graph.
#pragma once

#include <cuda_runtime_api.h>

#include "../render.h"

namespace diffbmp::cuda {

// Rows of a state: position x and y, px; rotation, rad; natural logarithm of the longest side in px; opacity logit;
// then a logit for each channel of colour.
constexpr int kPlaced = 5;

// What a run says of itself: steps done, loss of the last of them, error of the last evaluation, the lowest of all, and
// after how many steps that was. Errors are mean squares.
enum ReportField { kStep, kLoss, kError, kBestError, kBestStep, kReportFields };

struct Optimization {
  int64_t count;          // N
  float* state;           // [3, kPlaced + C, N]: values, and Adam's first and second moments
  float* best;            // [kPlaced + C, N] the values with the lowest error
  const int32_t* bitmap;  // [N]
  int32_t* best_bitmap;   // [N] that went with them
  const float* sides;     // [P] longest side in bitmap px
  const float* stretch;   // [N, 2, 2] or null, as in render.h
  const float* mu_blend;  // [N] or null, as in render.h
  const float* limits;    // [2, kPlaced + C, N] between which the values are held, or null: as Adam says
  double* report;         // [kReportFields]
  void* workspace;        // optimization_bytes(count), zeros at first
  float ratio;            // canvas px that are drawn per px of the state
};

struct Target {
  const float* color;          // [C, H, W] premultiplied
  const float* transmittance;  // [H, W]
  const float* weight;         // [H, W], or null: 1 everywhere
};

// The sum over pixels of weight times (difference over one background squared, summed over the channels, plus hole
// times difference of transmittance squared), divided by pixels and planes.
struct Loss {
  Target target;
  float value;        // of the background, in every channel
  const float* hole;  // one number on the device; null: 0
  int32_t planes;
};

// Adam as torch has it. The rates of position, rotation, size, opacity and colour, each times what the schedule says
// for the step.
struct Adam {
  float rates[5];
  const float* schedule;  // [steps] on the device; its last value holds from there on
  int64_t steps;
  float beta1, beta2;
  float log_size_low, log_size_high;  // without limits, sizes are kept within; and centres where an instance is seen
};

// Bytes of device memory that a run of N instances needs as workspace, aligned to 256.
size_t optimization_bytes(int64_t count);

// Makes the state ready to draw, and orders the tiles by what there is to draw in them: at the start, and when the
// bitmaps or the state were changed.
cudaError_t optimize_pack(const Bitmaps<float>&, const Optimization&, const Canvas&, cudaStream_t stream);

// One step. The packed instances must be those of these bitmaps.
cudaError_t optimize_step(const Bitmaps<float>&, const Optimization&, const Canvas&, const Loss&, const Adam&,
                          cudaStream_t stream);

// The loss of the present state as the run's error, drawn with other bitmaps; keeps the state if it is the lowest so
// far.
cudaError_t optimize_evaluate(const Bitmaps<float>&, const Optimization&, const Canvas&, const Loss&,
                              cudaStream_t stream);

}  // namespace diffbmp::cuda
