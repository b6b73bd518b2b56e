// From instances to what the inner loops read.
#pragma once

#include <type_traits>

#include "render_cuda.h"
#include "tile.cuh"

namespace diffbmp::cuda {

// Places instance i; a bitmap or a level that is not there draws nothing.
__device__ __forceinline__ void pack_instance(const Bitmaps<float>& bitmaps, const Instances<float>& instances,
                                              const Canvas& canvas, int64_t i, Packed* packed, Box* box,
                                              float* fourth) {
  *box = {1, 1, -1, -1};
  Packed p = {};
  const int32_t bitmap = instances.bitmap[i];
  Corners corners;
  Placement<float> place = {};
  if (bitmap >= 0 && bitmap < bitmaps.count) place = diffbmp::place(bitmaps, instances, canvas, i, &corners);
  const int64_t end = place.offset + (place.width + 3ll) * (place.height + 3ll);
  if (!place.drawn || place.offset < 0 || place.width < 1 || place.height < 1 || end > bitmaps.texel_count ||
      place.width > kMostTexels || place.height > kMostTexels) {
    *packed = p;
    return;
  }
  // From the last cell of zeros before the support box to the first behind it, counting cells from -1.
  const float low_x = place.x0 - 1, span_x = place.x1 - low_x, low_y = place.y0 - 1, span_y = place.y1 - low_y;
  p.x = place.x, p.y = place.y;
  p.ax = place.ax / span_x, p.bx = place.bx / span_x, p.cx = (place.cx - low_x) / span_x;
  p.ay = place.ay / span_y, p.by = place.by / span_y, p.cy = (place.cy - low_y) / span_y;
  const uint32_t stride = place.width + 3;
  p.span_x = span_x, p.shape = stride | static_cast<uint32_t>(span_y) << 16;
  const float* color = instances.color + bitmaps.channels * i;
  const float tint = 1 - place.mu_blend;
#pragma unroll
  for (int c = 0; c < 3; ++c) p.color[c] = c < bitmaps.channels ? tint * color[c] : 0;
  if (bitmaps.channels > 3) *fourth = tint * color[3];
  // 1 - o of an instance that is all but opaque has more digits than the o in front of it.
  const float most = static_cast<float>(canvas.alpha_max), least = static_cast<float>(1 - canvas.alpha_max);
  p.opacity = most / (1 + expf(-instances.opacity[i]));
  p.opacity_rest = (1 - p.opacity) - (least + most / (1 + expf(instances.opacity[i])));
  const int32_t first = (static_cast<int32_t>(low_y) + 1) * (place.width + 3) + static_cast<int32_t>(low_x) + 1;
  p.offset = place.offset + first - kWholeBits * (1 + stride);
  *packed = p;

  double left = corners.x[0], right = left, top = corners.y[0], bottom = top;
  for (int k = 1; k < 4; ++k) {
    left = smaller(left, corners.x[k]), right = larger(right, corners.x[k]);
    top = smaller(top, corners.y[k]), bottom = larger(bottom, corners.y[k]);
  }
  *box = {static_cast<float>(left - kMargin), static_cast<float>(top - kMargin), static_cast<float>(right + kMargin),
          static_cast<float>(bottom + kMargin)};
}

// Where the kernels' data lie in a workspace of device memory for `count` instances.
struct Workspace {
  Packed* packed;
  Box* boxes;
  float* fourth;
  void* sums;  // [count, kSumStride] float or 64-bit whole numbers
  uint32_t* sections;
  size_t bytes;
};

// From this many instances on, tiles look for theirs in sections instead of testing every box.
constexpr int64_t kMany = 8192;

inline Workspace lay_out(void* memory, int64_t count, size_t sum_bytes) {
  char* const begin = static_cast<char*>(memory);
  char* at = begin;
  const auto take = [&](size_t bytes) {
    char* out = at;
    at += (bytes + 255) / 256 * 256;
    return out;
  };
  Workspace out;
  out.packed = reinterpret_cast<Packed*>(take(count * sizeof(Packed)));
  out.boxes = reinterpret_cast<Box*>(take(count * sizeof(Box)));
  out.fourth = reinterpret_cast<float*>(take(count * sizeof(float)));
  out.sums = take(count * sum_bytes);
  out.sections =
      count < kMany ? nullptr : reinterpret_cast<uint32_t*>(take(kSections * ((count + 31) / 32) * sizeof(uint32_t)));
  out.bytes = at - begin;
  return out;
}

inline Drawing drawing_of(const Bitmaps<float>& bitmaps, int64_t count, const float* mu_blends, const Canvas& canvas,
                          const Workspace& workspace) {
  const int64_t side = canvas.width > canvas.height ? canvas.width : canvas.height;
  const int64_t units = (side + kSectionUnit * kSectionsAcross - 1) / (kSectionUnit * kSectionsAcross);
  return {reinterpret_cast<const float4*>(bitmaps.texels),
          bitmaps.texel_count,
          workspace.packed,
          workspace.fourth,
          workspace.boxes,
          workspace.sections,
          nullptr,
          static_cast<int32_t>(count),
          static_cast<int32_t>(canvas.height),
          static_cast<int32_t>(canvas.width),
          static_cast<int32_t>(units * kSectionUnit),
          static_cast<float>(canvas.mu_blend),
          mu_blends};
}

// Sets the bit of each instance in each section that its box meets; a warp takes 32 instances.
static __global__ void mark_sections(Drawing drawing, uint32_t* __restrict__ sections) {
  const int32_t i = blockIdx.x * blockDim.x + threadIdx.x, word = i / 32, words = (drawing.count + 31) / 32;
  if (word >= words) return;
  const Box box = i < drawing.count ? drawing.boxes[i] : Box{1, 1, -1, -1};
  for (int section = 0; section < kSections; ++section) {
    const int32_t left = section % kSectionsAcross * drawing.section_size;
    const int32_t top = section / kSectionsAcross * drawing.section_size;
    const bool hit = meets(box, rectangle(left, top, drawing.section_size, drawing.section_size));
    const unsigned hits = __ballot_sync(kAll, hit);
    if (threadIdx.x % 32 == 0) sections[static_cast<int64_t>(section) * words + word] = hits;
  }
}

constexpr unsigned kPackThreads = 64;

inline unsigned pack_blocks(int64_t count) { return static_cast<unsigned>((count + kPackThreads - 1) / kPackThreads); }

template <int P>
unsigned tiles(const Canvas& canvas) {
  return static_cast<unsigned>((canvas.width + kTileWidth - 1) / kTileWidth *
                               ((canvas.height + kTileHeight<P> - 1) / kTileHeight<P>));
}

// Calls launch(C, whether colour maps are drawn), both as constants.
template <typename Launch>
cudaError_t with_look(int32_t channels, const float* mu_blends, const Canvas& canvas, Launch launch) {
  const auto with_maps = [&](auto c) {
    return mu_blends || canvas.mu_blend > 0 ? launch(c, std::true_type()) : launch(c, std::false_type());
  };
  switch (channels) {
    case 1:
      return with_maps(std::integral_constant<int, 1>());
    case 3:
      return with_maps(std::integral_constant<int, 3>());
    case 4:
      return with_maps(std::integral_constant<int, 4>());
  }
  return cudaErrorInvalidValue;
}

inline cudaError_t count_processors(int* processors) {
  int device = 0;
  if (const cudaError_t error = cudaGetDevice(&device)) return error;
  return cudaDeviceGetAttribute(processors, cudaDevAttrMultiProcessorCount, device);
}

// Calls launch(P as a constant) with the most pixels per thread that still leave every multiprocessor several tiles.
// The colour maps of the bitmaps take registers: with them, no more than 4.
template <bool kMapped, typename Launch>
cudaError_t with_pixels_per_thread(const Canvas& canvas, Launch launch) {
  int processors = 0;
  if (const cudaError_t error = count_processors(&processors)) return error;
  if constexpr (!kMapped) {
    if (tiles<8>(canvas) > 3.5 * processors) {
      launch(std::integral_constant<int, 8>());
      return cudaGetLastError();
    }
  }
  if (tiles<4>(canvas) > 4.0 * processors) {
    launch(std::integral_constant<int, 4>());
  } else {
    launch(std::integral_constant<int, 2>());
  }
  return cudaGetLastError();
}

}  // namespace diffbmp::cuda
