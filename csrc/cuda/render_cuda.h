// The kernels' interface on the GPU: that of render.h, with device memory to work in and a stream. Nothing here waits
// for the device.
//
// The GPU does not sample texels but cells: the four texels of every cell of a level side by side, so that one load
// brings a sample. In the `Bitmaps` of these calls `texels` are the cells that make_cells wrote, float4 [planes,
// texel_count] with alpha first, and the levels' offsets are those of layout_cells; `levels` are on the device. Of a
// bitmap or level that is not there the kernels draw nothing.
#pragma once

#include <cuda_runtime_api.h>

#include "../render.h"

namespace diffbmp::cuda {

constexpr int32_t kMostTexels = 65532;  // across or down a level

// Offsets of the levels' cells: a level of w x h texels has (w + 3) x (h + 3), one ring of them all zeros. Both tables
// are on the host; returns the number of cells.
int64_t layout_cells(const Level* levels, int64_t count, Level* cell_levels);

// `texels` is a plane of texels, as in render.h; both tables of levels are on the device.
cudaError_t make_cells(const float* texels, const Level* levels, const Level* cell_levels, int64_t count, void* cells,
                       cudaStream_t stream);

// Bytes of device memory, aligned to 256, in which render() leaves to render_backward() how the instances lie and, for
// each tile, which of them it listed and which showed; `mapped`: whether the bitmaps' own colours are drawn.
size_t kept_bytes(int64_t count, const Canvas&, bool mapped);

cudaError_t render(const Bitmaps<float>&, const Instances<float>&, const Canvas&, const Image<float>& out, void* kept,
                   cudaStream_t stream);

// Bytes that render_backward() needs for itself.
size_t sum_bytes(int64_t count);

// `image` and `kept` are what render() wrote for the same inputs.
cudaError_t render_backward(const Bitmaps<float>&, const Instances<float>&, const Canvas&,
                            const Image<const float>& image, const void* kept, const ImageGradient<float>& gradient,
                            const InstanceGradient<float>& out, void* sums, cudaStream_t stream);

}  // namespace diffbmp::cuda
