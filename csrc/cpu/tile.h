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

// What a tile sees of an instance. Distances are taken pixel by pixel, not from the tile's corner on: a small instance
// far from that corner would lose its last digits.
template <typename T>
struct Footprint {
  int32_t first_row, end_row;                    // rows outside are empty
  int32_t first[kTileHeight], end[kTileHeight];  // columns of each row that the support box covers, to a rounding
  T dy[kTileHeight];                             // of each row's pixel centres from the instance's position
  T x[kTileHeight], y[kTileHeight];              // t where dx = 0
  Lanes<T> dx[kTileWidth / Lanes<T>::kCount];    // of each column's pixel centres
};

template <typename T>
inline void find_footprint(const Placement<T>& place, const Tile& tile, Footprint<T>* out) {
  using V = Lanes<T>;
  using I = typename V::Integers;
  static_assert(kTileHeight % V::kCount == 0);
  const T none = 0, all = kTileWidth;
  const T left = static_cast<T>(tile.left + 0.5), top = static_cast<T>(tile.top + 0.5);
  for (int column = 0; column < kTileWidth; column += V::kCount) {
    out->dx[column / V::kCount] = V::count() + (left + static_cast<T>(column)) - place.x;
  }
  const T per_x = inverse(place.ax), per_y = inverse(place.ay);
  for (int row = 0; row < kTileHeight; row += V::kCount) {
    const V dy = V::count() + (top + static_cast<T>(row)) - place.y;
    const V x = madd(V(place.bx), dy, V(place.cx)), y = madd(V(place.by), dy, V(place.cy));
    dy.store(out->dy + row);
    x.store(out->x + row);
    y.store(out->y + row);
    V first = -1, last = all;  // columns from the tile's first
    clip(per_x, madd(V(place.ax), V(left - place.x), x), place.x0, place.x1, &first, &last);
    clip(per_y, madd(V(place.ay), V(left - place.x), y), place.y0, place.y1, &first, &last);
    // floor(first) + 1 and ceil(last), by truncation of what is not negative
    static_cast<I>(smaller(first, V(all)) + 1).store(out->first + row);
    (kTileWidth - static_cast<I>(all - larger(last, V(none)))).store(out->end + row);
  }
  int first_row = 0, end_row = kTileHeight;
  while (first_row < end_row && out->first[first_row] >= out->end[first_row]) ++first_row;
  while (first_row < end_row && out->first[end_row - 1] >= out->end[end_row - 1]) --end_row;
  out->first_row = first_row, out->end_row = end_row;
}

}  // namespace diffbmp::cpu
