// What the CUDA kernels share: the packed instance, and how a block finds the instances of its tile.
//
// One block draws one tile with 8 warps; a thread draws P px, kStepX apart in x and kStepY apart in y, so that the
// loads of a warp lie close together. P = 8 (a warp of 16 x 16 px, a tile of 32 x 64) does least work per pixel, P = 2
// (8 x 8 and 32 x 16) gives a small canvas enough blocks to fill a large GPU. The block lists the instances whose box
// meets its tile in depth order, at most kListed at a time, in shared memory; each warp then drops those that miss its
// own pixels, 32 at a time, one per lane. However many there are, no list can overflow.
#pragma once

#include <cuda_runtime.h>

#include "../transform.h"

namespace diffbmp::cuda {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
constexpr int kStepX = 8, kStepY = 4;  // px; a warp is one such step of pixels
constexpr int kTileWidth = 32;

// In how many columns a thread's pixels stand: so that those of a warp are about square, and the fewest instances meet
// them.
template <int P>
constexpr int kColumns = P == 2 ? 1 : 2;
template <int P>
constexpr int kWarpWidth = kColumns<P> * kStepX;
template <int P>
constexpr int kWarpHeight = P / kColumns<P> * kStepY;
template <int P>
constexpr int kWarpsAcross = kTileWidth / kWarpWidth<P>;
template <int P>
constexpr int kTileHeight = kWarps / kWarpsAcross<P> * kWarpHeight<P>;

// Blocks that a multiprocessor holds at once, and with that the registers of a thread: what measured fastest.
template <int P>
constexpr int kDrawBlocks = P == 8 ? 2 : 4;
template <int P>
constexpr int kGradientBlocks = P == 8   ? 2
                                : P == 4 ? 3
                                         : 4;

constexpr int kListed = 512;
constexpr int kTested = 4;  // instances that a thread tests at once for the list of its tile
constexpr unsigned kAll = 0xffffffffu;

// One instance, ready to draw: what the inner loops read, in 16-byte words. A sample is taken at
//     n.x = clamp(ax (p.x - x) + bx (p.y - y) + cx, 0, 1),    column = span_x n.x from the first column on
// and likewise n.y: what lies outside the support box falls in a cell of zeros, with no test and no branch.
struct alignas(16) Frame {
  float x, y, ax, bx;
  float ay, by, cx, cy;
};

// Adding 2^23 rounds to whole numbers and leaves them in the low bits: faster than a conversion.
constexpr float kWhole = 8388608.f;
constexpr uint32_t kWholeBits = 0x4b000000;

struct alignas(16) Packed : Frame {
  float span_x;
  uint32_t shape;               // cells from row to row, and in the upper half span_y
  uint32_t offset;              // of the box's first cell, less what kWhole adds (see cell_at)
  float opacity, opacity_rest;  // o = alpha_max sigmoid(nu), and what rounding took from it
  float color[3];               // times 1 - mu_blend; a fourth channel stands in Drawing::fourth

  __device__ __forceinline__ uint32_t stride() const { return shape & 0xffff; }
  __device__ __forceinline__ float span_y() const { return __uint_as_float(kWholeBits | shape >> 16) - kWhole; }
};
static_assert(sizeof(Packed) == 64, "four loads");

// The box of an instance on the canvas, px; empty (left > right) where it draws nothing.
struct alignas(16) Box {
  float left, top, right, bottom;
};

// Everything that the kernels read of a scene.
struct Drawing {
  const float4* cells;  // [1 or C + 1, cell_count] surfaces: of alpha, then of the colour planes
  int64_t cell_count;
  const Packed* packed;      // [count]
  const float* fourth;       // [count] the fourth channel of colour, where there is one
  const Box* boxes;          // [count]
  const uint32_t* sections;  // [kSections, ceil(count / 32)] which instances meet a section, or null: test them all
  const int32_t* order;      // [tiles] which tile each block draws, or null: that of its own number
  int32_t count, height, width;
  int32_t section_size;  // px
  float mu_blend;
  const float* mu_blends;  // [count] of each instance, or null: mu_blend for all
};

__device__ __forceinline__ float mu_blend_of(const Drawing& drawing, int32_t i) {
  return drawing.mu_blends ? __ldg(drawing.mu_blends + i) : drawing.mu_blend;
}

// Sections: the canvas in at most kSectionsAcross x kSectionsAcross squares of a multiple of kSectionUnit px, so that
// every tile lies in one.
constexpr int kSectionUnit = 64;
constexpr int kSectionsAcross = 8, kSections = kSectionsAcross * kSectionsAcross;
static_assert(kSectionUnit % kTileWidth == 0 && kSectionUnit % kTileHeight<8> == 0, "a tile must not span sections");

struct Rectangle {
  float x, y, half_width, half_height;  // the centre of its pixel centres, and how far they reach
};

__device__ __forceinline__ Rectangle rectangle(int32_t left, int32_t top, int width, int height) {
  return {left + width / 2.f, top + height / 2.f, (width - 1) / 2.f, (height - 1) / 2.f};
}

__device__ __forceinline__ bool meets(const Box& box, const Rectangle& r) {
  // Bits, not conditions: no branch to wait for.
  return (box.left < r.x + r.half_width) & (box.right > r.x - r.half_width) & (box.top < r.y + r.half_height) &
         (box.bottom > r.y - r.half_height);
}

// Whether the turned support box meets a rectangle, as far as the box's own two directions can tell.
__device__ __forceinline__ bool meets(const Frame& p, const Rectangle& r) {
  const float dx = r.x - p.x, dy = r.y - p.y;
  const float x = p.ax * dx + p.bx * dy + p.cx, reach_x = fabsf(p.ax) * r.half_width + fabsf(p.bx) * r.half_height;
  const float y = p.ay * dx + p.by * dy + p.cy, reach_y = fabsf(p.ay) * r.half_width + fabsf(p.by) * r.half_height;
  return (x + reach_x > 0) & (x - reach_x < 1) & (y + reach_y > 0) & (y - reach_y < 1);
}

// Reads a structure of 16-byte words.
template <typename T>
__device__ __forceinline__ T fetch(const T* __restrict__ from) {
  T out;
  float4* to = reinterpret_cast<float4*>(&out);
#pragma unroll
  for (int k = 0; k < static_cast<int>(sizeof(T) / sizeof(float4)); ++k) {
    to[k] = __ldg(reinterpret_cast<const float4*>(from) + k);
  }
  return out;
}

// Where a thread's first pixel centre lies, and the rectangles of its block and its warp.
struct Pixels {
  int32_t column, row;
  int32_t section;
  Rectangle tile, mine;
};

template <int P>
__device__ __forceinline__ Pixels my_pixels(const Drawing& drawing) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int32_t across = (drawing.width + kTileWidth - 1) / kTileWidth;
  const int32_t tile = drawing.order ? __ldg(drawing.order + blockIdx.x) : static_cast<int32_t>(blockIdx.x);
  const int32_t left = tile % across * kTileWidth, top = tile / across * kTileHeight<P>;
  const int32_t x = left + warp % kWarpsAcross<P> * kWarpWidth<P>;
  const int32_t y = top + warp / kWarpsAcross<P> * kWarpHeight<P>;
  // Of every 8 lanes, whose 16-byte loads are served together, 4 lie side by side and 4 below them: however a bitmap is
  // turned, their cells lie in few rows.
  const int32_t right = lane % 4 + lane / 8 % 2 * 4, down = lane / 4 % 2 + lane / 16 * 2;
  return {x + right, y + down,
          top / drawing.section_size * kSectionsAcross + left / drawing.section_size,
          rectangle(left, top, kTileWidth, kTileHeight<P>), rectangle(x, y, kWarpWidth<P>, kWarpHeight<P>)};
}

// ---- the instances of a tile ---------------------------------------------------------------------------------------

// A list, and what each warp has drawn of it: how many batches of 32, and the bits of those that showed in its pixels.
struct Seen {
  int32_t instances[kListed];
  int32_t batches[kWarps];
  uint32_t shown[kWarps][kListed / 32];
};

struct List : Seen {
  int32_t length;  // of the last list
  int32_t found[kWarps];
};

// How many of a block's threads before this one, and in all, hold what; each thread brings `mine` of them.
struct Count {
  int32_t before, total;
};

__device__ __forceinline__ Count count_up(int32_t mine, List* list) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  int32_t sum = mine;
#pragma unroll
  for (int width = 1; width < 32; width *= 2) {
    const int32_t other = __shfl_up_sync(kAll, sum, width);
    sum += lane >= width ? other : 0;
  }
  if (lane == 31) list->found[warp] = sum;
  __syncthreads();
  Count out = {sum - mine, 0};
#pragma unroll
  for (int w = 0; w < kWarps; ++w) {
    out.before += w < warp ? list->found[w] : 0;
    out.total += list->found[w];
  }
  __syncthreads();
  return out;
}

// Lists the next instances that meet the tile, front first (kForward) or back first, and moves *next on; returns how
// many, and in *more whether there are others. A thread takes a word of them at a time: kTested, or, where there are
// many and few of them are here, the 32 of which the section has bits.
template <bool kForward>
__device__ __forceinline__ int32_t list_next(const Drawing& drawing, const Pixels& at, List* list, int32_t* next,
                                             bool* more) {
  const bool sections = drawing.sections != nullptr;
  const int32_t word_length = sections ? 32 : kTested;
  const int32_t words = (drawing.count + word_length - 1) / word_length;
  const uint32_t* section = drawing.sections + static_cast<int64_t>(at.section) * words;
  int32_t listed = 0;
  while (*next < words) {
    const int32_t turn = *next + static_cast<int32_t>(threadIdx.x);
    const int32_t first = word_length * (kForward ? words - 1 - turn : turn);
    uint32_t hits = 0;
    if (sections) {
      for (uint32_t left = turn < words ? __ldg(section + first / 32) : 0; left != 0; left &= left - 1) {
        const int bit = __ffs(left) - 1;
        if (meets(fetch(drawing.boxes + first + bit), at.tile)) hits |= 1u << bit;
      }
    } else {
#pragma unroll
      for (int bit = 0; bit < kTested; ++bit) {
        const int32_t i = first + bit;
        const bool there = (turn < words) & (i < drawing.count);
        hits |= static_cast<uint32_t>(there & meets(fetch(drawing.boxes + (there ? i : 0)), at.tile)) << bit;
      }
    }
    const Count count = count_up(__popc(hits), list);
    // As many threads as fit, from the first: at least kListed / 32 do where the list is empty.
    const bool fits = listed + count.before + __popc(hits) <= kListed;
    if (fits) {
      for (int32_t k = listed + count.before; hits != 0; ++k) {
        const int bit = kForward ? 31 - __clz(hits) : __ffs(hits) - 1;
        list->instances[k] = first + bit;
        hits &= ~(1u << bit);
      }
    }
    const int32_t taken = __syncthreads_count(fits);
    *next += taken;
    if (taken < kThreads) {
      // The threads that fit are the first ones; the first that did not says how far the list came.
      if (static_cast<int32_t>(threadIdx.x) == taken) list->length = listed + count.before;
      __syncthreads();
      listed = list->length;
      __syncthreads();
      break;
    }
    listed += count.total;
  }
  *more = *next < words;
  return listed;
}

// Calls visit(i, packed) once per warp for each listed instance from `first` on that meets the warp's pixels, in the
// order of the list. After every 32 instances of the list `finished()` may end it. kRemember: visit says whether the
// instance shows, for visit_shown.
template <bool kRemember, typename Visit, typename Finished>
__device__ __forceinline__ void visit_list(const Drawing& drawing, const Rectangle& mine, List* list, int32_t listed,
                                           int32_t first, Visit visit, Finished finished) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int32_t batches = (listed + 31) / 32;
  int32_t batch = 0;
  while (batch < batches) {
    const int32_t base = 32 * batch;
    bool hit = base + lane < listed;
    if (hit) {
      const int32_t i = list->instances[base + lane];
      hit = i >= first && meets(fetch<Frame>(drawing.packed + i), mine);
    }
    unsigned hits = __ballot_sync(kAll, hit);
    for (unsigned left = hits; left != 0;) {
      const unsigned lowest = left & (0u - left);
      left ^= lowest;
      const int32_t i = list->instances[base + 31 - __clz(lowest)];
      const bool shown = visit(i, fetch(drawing.packed + i));
      if (kRemember && !shown) hits ^= lowest;
    }
    if (kRemember && lane == 0) list->shown[warp][batch] = hits;
    ++batch;
    if (finished()) break;
  }
  if constexpr (kRemember) {
    if (lane == 0) list->batches[warp] = batch;
    __syncwarp();
  }
}

// The same for those that showed, against the order of the list.
template <typename Visit>
__device__ __forceinline__ void visit_shown(const Drawing& drawing, const Seen* list, Visit visit) {
  const int warp = threadIdx.x / 32;
  for (int32_t batch = list->batches[warp] - 1; batch >= 0; --batch) {
    for (unsigned left = list->shown[warp][batch]; left != 0;) {
      const int bit = 31 - __clz(left);
      left ^= 1u << bit;
      const int32_t i = list->instances[32 * batch + bit];
      visit(i, fetch(drawing.packed + i));
    }
  }
}

// ---- sampling ------------------------------------------------------------------------------------------------------

// The cell at d = p - position; Packed::offset makes up for kWholeBits, modulo 2^32.
__device__ __forceinline__ Cell<float> cell_at(const Packed& p, float dx, float dy) {
  const float x = __saturatef(madd(p.bx, dy, madd(p.ax, dx, p.cx)));
  const float y = __saturatef(madd(p.by, dy, madd(p.ay, dx, p.cy)));
  const float span_y = p.span_y();
  const float column = __fmaf_rd(x, p.span_x, kWhole), row = __fmaf_rd(y, span_y, kWhole);
  const uint32_t cell = __float_as_uint(row) * p.stride() + (__float_as_uint(column) + p.offset);
  return {static_cast<int32_t>(cell), madd(x, p.span_x, kWhole - column), madd(y, span_y, kWhole - row)};
}

// A cell's bilinear surface, with fewer operations to a sample than its corners take:
//     start + fx by_x + fy (by_y + fx twist)
struct alignas(16) Surface {
  float start, by_x, by_y, twist;
};

__device__ __forceinline__ Surface surface_at(const float4* __restrict__ plane, int32_t cell) {
  const float4 read = __ldg(plane + cell);
  return {read.x, read.y, read.z, read.w};
}

// sum + weight surface
__device__ __forceinline__ Surface plus(const Surface& sum, float weight, const Surface& surface) {
  return {madd(weight, surface.start, sum.start), madd(weight, surface.by_x, sum.by_x),
          madd(weight, surface.by_y, sum.by_y), madd(weight, surface.twist, sum.twist)};
}

__device__ __forceinline__ Sample<float> sample(const Surface& surface, float fx, float fy) {
  const float by_y = madd(fx, surface.twist, surface.by_y);
  return {madd(fy, by_y, madd(fx, surface.by_x, surface.start)), madd(fy, surface.twist, surface.by_x), by_y};
}

}  // namespace diffbmp::cuda
