// A tile of the canvas, what it sees of an instance, and its pixels, a vector of them at a time.
#pragma once

#include <cstdint>

#include "lanes.h"

namespace diffbmp::cpu {

constexpr int kTileWidth = 64, kTileHeight = 32;  // px

// Where a tile lies on the canvas; those at the right and lower edge may be cut.
struct Tile {
  int64_t left, top, width, height;
};

// The pixels of a tile. A block is what one vector of pixels has gathered: kept together, since planes a power of two
// apart would fall on the same lines of the cache.
template <typename Block>
struct Blocks {
  static constexpr int kPixels = Block::V::kCount;  // of a block
  static_assert(kTileWidth % kPixels == 0);
  Block rows[kTileHeight][kTileWidth / kPixels];
};

// What a tile sees of an instance.
template <typename T>
struct Footprint {
  T dx, dy;                                      // of the tile's first pixel centre from the instance's position
  int32_t first_row, end_row;                    // rows outside are empty
  int32_t first[kTileHeight], end[kTileHeight];  // columns of each row that the support box covers, to a rounding
  T x[kTileHeight], y[kTileHeight];              // t at the first pixel centre of each row
};

template <typename T>
inline void find_footprint(const Placement<T>& place, const Tile& tile, Footprint<T>* out) {
  using V = Lanes<T>;
  using I = typename V::Integers;
  static_assert(kTileHeight % V::kCount == 0);
  const T none = 0, all = kTileWidth;
  out->dx = static_cast<T>(tile.left + 0.5) - place.x;
  out->dy = static_cast<T>(tile.top + 0.5) - place.y;
  const T per_x = inverse(place.ax), per_y = inverse(place.ay);
  const T start_x = madd(place.ax, out->dx, place.cx), start_y = madd(place.ay, out->dx, place.cy);
  for (int row = 0; row < kTileHeight; row += V::kCount) {
    const V dy = V::count() + (out->dy + row);
    const V x = madd(V(place.bx), dy, V(start_x)), y = madd(V(place.by), dy, V(start_y));
    V first = -1, last = all;
    clip(per_x, x, place.x0, place.x1, &first, &last);
    clip(per_y, y, place.y0, place.y1, &first, &last);
    // floor(first) + 1 and ceil(last), by truncation of what is not negative
    static_cast<I>(smaller(first, V(all)) + 1).store(out->first + row);
    (kTileWidth - static_cast<I>(all - larger(last, V(none)))).store(out->end + row);
    x.store(out->x + row);
    y.store(out->y + row);
  }
  int first_row = 0, end_row = kTileHeight;
  while (first_row < end_row && out->first[first_row] >= out->end[first_row]) ++first_row;
  while (first_row < end_row && out->first[end_row - 1] >= out->end[end_row - 1]) --end_row;
  out->first_row = first_row, out->end_row = end_row;
}

}  // namespace diffbmp::cpu
