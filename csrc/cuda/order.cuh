// In which order the tiles of a canvas are drawn, so that the multiprocessors come to an end together.
#pragma once

#include "pack.cuh"

namespace diffbmp::cuda {

// Up to this many tiles are drawn in the order of their loads; more keep every multiprocessor busy to the end anyway.
constexpr unsigned kOrdered = 4096;

// How much each tile has to draw: its instances, counted once for every warp that they meet. One block to a tile.
template <int P>
__global__ void __launch_bounds__(kThreads) weigh(Drawing drawing, int32_t* __restrict__ loads) {
  __shared__ int32_t load;
  if (threadIdx.x == 0) load = 0;
  __syncthreads();
  const int32_t across = (drawing.width + kTileWidth - 1) / kTileWidth;
  const int32_t left = blockIdx.x % across * kTileWidth, top = blockIdx.x / across * kTileHeight<P>;
  const Rectangle tile = rectangle(left, top, kTileWidth, kTileHeight<P>);
  int32_t mine = 0;
  for (int32_t i = threadIdx.x; i < drawing.count; i += kThreads) {
    if (!meets(fetch(drawing.boxes + i), tile)) continue;
    const Frame frame = fetch<Frame>(drawing.packed + i);
    for (int warp = 0; warp < kWarps; ++warp) {
      const int32_t x = left + warp % kWarpsAcross<P> * kWarpWidth<P>;
      const int32_t y = top + warp / kWarpsAcross<P> * kWarpHeight<P>;
      mine += meets(frame, rectangle(x, y, kWarpWidth<P>, kWarpHeight<P>));
    }
  }
  atomicAdd(&load, mine);
  __syncthreads();
  if (threadIdx.x == 0) loads[blockIdx.x] = load;
}

// Blocks start in the order of their numbers, the first `processors` on a multiprocessor each. Where all run at once
// (`resident`), the one with the heaviest tile gets the lightest of the next, and so on to and fro; where they take
// turns, the heaviest tiles go first and what ends last is light.
static __global__ void arrange(const int32_t* __restrict__ loads, int32_t count, int32_t processors, bool resident,
                               int32_t* __restrict__ order) {
  const int32_t tile = blockIdx.x * blockDim.x + threadIdx.x;
  if (tile >= count) return;
  const int32_t mine = loads[tile];
  int32_t rank = 0;
  for (int32_t other = 0; other < count; ++other) {
    const int32_t load = __ldg(loads + other);
    rank += load > mine || (load == mine && other < tile);
  }
  const int32_t turn = rank / processors, first = turn * processors;
  if (resident && turn % 2 == 1) rank = first + smaller(first + processors, count) - 1 - rank;
  order[rank] = tile;
}

// Writes [tiles] to `order`, where there are at most kOrdered of them; `loads` is scratch of the same size.
template <bool kMapped>
cudaError_t make_order(const Drawing& drawing, const Canvas& canvas, int32_t* loads, int32_t* order,
                       cudaStream_t stream) {
  int processors = 0;
  if (const cudaError_t error = count_processors(&processors)) return error;
  return with_pixels_per_thread<kMapped>(canvas, [&](auto p) {
    constexpr int P = decltype(p)::value;
    const unsigned count = tiles<P>(canvas);
    if (count > kOrdered) return;
    const bool resident = count <= static_cast<unsigned>(processors * kGradientBlocks<P>);
    weigh<P><<<count, kThreads, 0, stream>>>(drawing, loads);
    arrange<<<(count + kThreads - 1) / kThreads, kThreads, 0, stream>>>(loads, count, processors, resident, order);
  });
}

}  // namespace diffbmp::cuda
