// The renderer on the GPU, for autograd: pack_instances, then draw, or accumulate and chain_rule.
#include "pack.cuh"
#include "pixels.cuh"
#include "render_cuda.h"

namespace diffbmp::cuda {
namespace {

__global__ void write_cells(const float* __restrict__ texels, const Level* __restrict__ levels,
                            const Level* __restrict__ cell_levels, float4* __restrict__ cells) {
  const Level level = levels[blockIdx.x];
  if (level.x0 >= level.x1 || level.y0 >= level.y1) return;
  const float* plane = texels + level.offset;
  float4* out = cells + cell_levels[blockIdx.x].offset;
  const int32_t across = level.width + 3, count = across * (level.height + 3);
  const auto at = [&](int32_t row, int32_t column) {
    return row >= 0 && row < level.height + 2 && column >= 0 && column < level.width + 2
               ? plane[row * (level.width + 2) + column]
               : 0.f;
  };
  for (int32_t i = blockIdx.y * blockDim.x + threadIdx.x; i < count; i += gridDim.y * blockDim.x) {
    const int32_t row = i / across - 1, column = i % across - 1;
    const double v00 = at(row, column), v10 = at(row, column + 1);
    const double v01 = at(row + 1, column), v11 = at(row + 1, column + 1);
    out[i] = make_float4(static_cast<float>(v00), static_cast<float>(v10 - v00), static_cast<float>(v01 - v00),
                         static_cast<float>(v00 - v10 - v01 + v11));
  }
}

__global__ void pack_instances(Bitmaps<float> bitmaps, Instances<float> instances, Canvas canvas,
                               Workspace workspace) {
  const int64_t i = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x;
  if (i >= instances.count) return;
  pack_instance(bitmaps, instances, canvas, i, workspace.packed + i, workspace.boxes + i, workspace.fourth + i);
}

// For the way back: `listed` is what draw_tile returned. Where the list was not all of the tile's, no batches say so.
__device__ __forceinline__ void keep(const List& list, int32_t listed, Seen* __restrict__ seen) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  for (int32_t k = threadIdx.x; k < listed; k += kThreads) seen->instances[k] = list.instances[k];
  const int32_t batches = listed < 0 ? -1 : list.batches[warp];
  if (lane < batches) seen->shown[warp][lane] = list.shown[warp][lane];
  if (lane == 0) seen->batches[warp] = batches;
}

template <int C, bool kMapped, int P>
__global__ void __launch_bounds__(kThreads, kDrawBlocks<P>) draw(Drawing drawing, Image<float> out,
                                                                 Seen* __restrict__ seen) {
  __shared__ List list;
  const Pixels at = my_pixels<P>(drawing);
  PixelState<C, P> state;
  const int32_t listed = draw_tile<C, kMapped, P, true>(drawing, at, &list, state);
  keep(list, listed, seen + blockIdx.x);
  const int64_t plane = static_cast<int64_t>(drawing.height) * drawing.width;
#pragma unroll
  for (int k = 0; k < P; ++k) {
    const int32_t column = at.column + right_of<P>(k), row = at.row + below<P>(k);
    if (column >= drawing.width || row >= drawing.height) continue;
    const int64_t pixel = static_cast<int64_t>(row) * drawing.width + column;
    for (int c = 0; c < C; ++c) out.color[c * plane + pixel] = state.color[k][c];
    out.transmittance[pixel] = state.transmittance[k];
    out.last[pixel] = state.last[k];
  }
}

template <int C, bool kMapped, int P>
__global__ void __launch_bounds__(kThreads, kGradientBlocks<P>)
    accumulate(Drawing drawing, const Seen* __restrict__ seen, Image<const float> image, ImageGradient<float> gradient,
               float* __restrict__ sums) {
  __shared__ List list;
  const Pixels at = my_pixels<P>(drawing);
  const int64_t plane = static_cast<int64_t>(drawing.height) * drawing.width;
  float g[P][C], behind[P], transmittance[P];
  int32_t last[P];
#pragma unroll
  for (int k = 0; k < P; ++k) {
    const int32_t column = at.column + right_of<P>(k), row = at.row + below<P>(k);
    // Without a branch, so that all loads are on the way at once. Pixels beyond the canvas take no part.
    const bool inside = (column < drawing.width) & (row < drawing.height);
    const int64_t pixel = inside ? static_cast<int64_t>(row) * drawing.width + column : 0;
    for (int c = 0; c < C; ++c) {
      const float by_color = gradient.color[c * plane + pixel];
      g[k][c] = inside ? by_color : 0;
    }
    const float by_transmittance = gradient.transmittance[pixel], drawn = image.transmittance[pixel];
    const int32_t backmost = image.last[pixel];
    behind[k] = inside ? by_transmittance : 0;
    transmittance[k] = inside ? drawn : 0;
    last[k] = inside ? backmost : drawing.count;
  }
  const auto differentiate = [&](auto* from) {
    differentiate_tile<C, kMapped, P>(drawing, at, from, g, behind, transmittance, last,
                                      [&](int32_t i, int which, float value) {
                                        atomicAdd(sums + static_cast<int64_t>(i) * kSumStride + which, value);
                                      });
  };
  if (seen[blockIdx.x].batches[threadIdx.x / 32] >= 0) {
    differentiate(seen + blockIdx.x);
  } else {
    differentiate(&list);
  }
}

__global__ void chain_rule(Instances<float> instances, int32_t channels, Canvas canvas,
                           const Packed* __restrict__ packed, const float* __restrict__ sums,
                           InstanceGradient<float> out) {
  const int64_t i = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x;
  if (i >= instances.count) return;
  const float* sum = sums + i * kSumStride;
  const bool drawn = packed[i].opacity > 0;
  out.position[2 * i] = drawn ? -sum[0] : 0;
  out.position[2 * i + 1] = drawn ? -sum[1] : 0;
  out.rotation[i] = drawn ? sum[2] : 0;
  out.scale[i] = drawn ? -sum[3] / instances.scale[i] : 0;
  out.opacity[i] = drawn ? sum[kSumOpacity] * static_cast<float>(sigmoid(-instances.opacity[i])) : 0;
  const float tint = 1 - (instances.mu_blend ? instances.mu_blend[i] : static_cast<float>(canvas.mu_blend));
  for (int c = 0; c < channels; ++c) out.color[channels * i + c] = drawn ? tint * sum[kSumColor + c] : 0;
}

cudaError_t pack(const Bitmaps<float>& bitmaps, const Instances<float>& instances, const Canvas& canvas,
                 const Workspace& workspace, cudaStream_t stream) {
  if (instances.count == 0) return cudaSuccess;
  const unsigned blocks = pack_blocks(instances.count);
  pack_instances<<<blocks, kPackThreads, 0, stream>>>(bitmaps, instances, canvas, workspace);
  if (workspace.sections) {
    const Drawing drawing = drawing_of(bitmaps, instances.count, instances.mu_blend, canvas, workspace);
    mark_sections<<<blocks, kPackThreads, 0, stream>>>(drawing, workspace.sections);
  }
  return cudaGetLastError();
}

template <int C, bool kMapped>
cudaError_t draw_all(const Drawing& drawing, const Canvas& canvas, const Image<float>& out, Seen* seen,
                     cudaStream_t stream) {
  return with_pixels_per_thread<kMapped>(canvas, [&](auto p) {
    constexpr int P = decltype(p)::value;
    draw<C, kMapped, P><<<tiles<P>(canvas), kThreads, 0, stream>>>(drawing, out, seen);
  });
}

template <int C, bool kMapped>
cudaError_t accumulate_all(const Drawing& drawing, const Canvas& canvas, const Seen* seen,
                           const Image<const float>& image, const ImageGradient<float>& gradient, float* sums,
                           cudaStream_t stream) {
  return with_pixels_per_thread<kMapped>(canvas, [&](auto p) {
    constexpr int P = decltype(p)::value;
    accumulate<C, kMapped, P><<<tiles<P>(canvas), kThreads, 0, stream>>>(drawing, seen, image, gradient, sums);
  });
}

// What render leaves to render_backward.
struct Kept {
  Workspace workspace;
  Seen* seen;  // [tiles]
  size_t bytes;
};

Kept lay_out_kept(void* memory, int64_t count, size_t tiles) {
  Kept out;
  out.workspace = lay_out(memory, count, 0);
  out.seen = reinterpret_cast<Seen*>(static_cast<char*>(memory) + out.workspace.bytes);
  out.bytes = out.workspace.bytes + tiles * sizeof(Seen);
  return out;
}

}  // namespace

int64_t layout_cells(const Level* levels, int64_t count, Level* cell_levels) {
  int64_t cells = 0;
  for (int64_t k = 0; k < count; ++k) {
    cell_levels[k] = levels[k];
    if (levels[k].x0 >= levels[k].x1 || levels[k].y0 >= levels[k].y1) continue;
    cell_levels[k].offset = static_cast<int32_t>(cells);
    cells += (levels[k].width + 3ll) * (levels[k].height + 3ll);
  }
  return cells;
}

cudaError_t make_cells(const float* texels, const Level* levels, const Level* cell_levels, int64_t count, void* cells,
                       cudaStream_t stream) {
  write_cells<<<dim3(static_cast<unsigned>(count), 64), 256, 0, stream>>>(texels, levels, cell_levels,
                                                                          static_cast<float4*>(cells));
  return cudaGetLastError();
}

size_t kept_bytes(int64_t count, const Canvas& canvas, bool mapped) {
  size_t tile_count = 0;
  const auto count_tiles = [&](auto p) { tile_count = tiles<decltype(p)::value>(canvas); };
  mapped ? with_pixels_per_thread<true>(canvas, count_tiles) : with_pixels_per_thread<false>(canvas, count_tiles);
  return lay_out_kept(nullptr, count, tile_count).bytes;
}

size_t sum_bytes(int64_t count) { return count * kSumStride * sizeof(float); }

cudaError_t render(const Bitmaps<float>& bitmaps, const Instances<float>& instances, const Canvas& canvas,
                   const Image<float>& out, void* memory, cudaStream_t stream) {
  const Kept kept = lay_out_kept(memory, instances.count, 0);
  if (const cudaError_t error = pack(bitmaps, instances, canvas, kept.workspace, stream)) return error;
  const Drawing drawing = drawing_of(bitmaps, instances.count, instances.mu_blend, canvas, kept.workspace);
  return with_look(bitmaps.channels, instances.mu_blend, canvas, [&](auto c, auto mapped) {
    return draw_all<decltype(c)::value, decltype(mapped)::value>(drawing, canvas, out, kept.seen, stream);
  });
}

cudaError_t render_backward(const Bitmaps<float>& bitmaps, const Instances<float>& instances, const Canvas& canvas,
                            const Image<const float>& image, const void* memory, const ImageGradient<float>& gradient,
                            const InstanceGradient<float>& out, void* sum_memory, cudaStream_t stream) {
  if (instances.count == 0) return cudaSuccess;
  const Kept kept = lay_out_kept(const_cast<void*>(memory), instances.count, 0);
  float* const sums = static_cast<float*>(sum_memory);
  if (const cudaError_t error = cudaMemsetAsync(sums, 0, sum_bytes(instances.count), stream)) return error;
  const Drawing drawing = drawing_of(bitmaps, instances.count, instances.mu_blend, canvas, kept.workspace);
  const cudaError_t error = with_look(bitmaps.channels, instances.mu_blend, canvas, [&](auto c, auto mapped) {
    return accumulate_all<decltype(c)::value, decltype(mapped)::value>(drawing, canvas, kept.seen, image, gradient,
                                                                       sums, stream);
  });
  if (error) return error;
  chain_rule<<<pack_blocks(instances.count), kPackThreads, 0, stream>>>(instances, bitmaps.channels, canvas,
                                                                        kept.workspace.packed, sums, out);
  return cudaGetLastError();
}

}  // namespace diffbmp::cuda
