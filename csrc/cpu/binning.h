// Which instances meet which tile of the canvas.
#pragma once

#include <cstdint>
#include <vector>

#include "lanes.h"

namespace diffbmp::cpu {

constexpr int kTile = 32;   // px, width and height of a tile

template <typename T>
struct Tiles {
  int64_t across, down;              // number of tiles
  std::vector<Placement<T>> places;  // [N]
  std::vector<int64_t> begin;        // [across * down + 1], row by row
  std::vector<int32_t> instances;    // those of tile t are [begin[t], begin[t + 1]), backmost first
};

template <typename T>
Tiles<T> bin(const Bitmaps<T>& bitmaps, const Instances<T>& instances, const Canvas& canvas);

// What one tile sees of an instance: where its rows begin in the level, and which of their pixels it can touch.
template <typename T>
struct Footprint {
  T dx, dy;                           // of the tile's first pixel centre from the instance's position
  int32_t first_row, end_row;         // rows outside are empty
  T x[kTile], y[kTile];               // t of each row's first pixel centre
  int32_t first[kTile], end[kTile];   // columns
};

template <typename T>
inline void find_footprint(const Placement<T>& place, int64_t left, int64_t top, Footprint<T>* out) {
  using V = Lanes<T>;
  using I = typename V::Mask;
  static_assert(kTile % V::kCount == 0);
  out->dx = static_cast<T>(left + 0.5) - place.x;
  out->dy = static_cast<T>(top + 0.5) - place.y;
  const T along_x = inverse(place.ax), along_y = inverse(place.ay), none = 0, all = kTile;
  const T start_x = madd(place.ax, out->dx, place.cx), start_y = madd(place.ay, out->dx, place.cy);
  for (int row = 0; row < kTile; row += V::kCount) {
    const V dy = V::count() + (out->dy + row);
    const V x = madd(V(place.bx), dy, V(start_x)), y = madd(V(place.by), dy, V(start_y));
    V first = -1, last = all;
    clip(along_x, x, place.x0, place.x1, &first, &last);
    clip(along_y, y, place.y0, place.y1, &first, &last);
    x.store(out->x + row);
    y.store(out->y + row);
    // floor(first) + 1 and ceil(last), by truncation of numbers from 0 up
    static_cast<I>(smaller(first, V(all)) + 1).store(out->first + row);
    (kTile - static_cast<I>(all - larger(last, V(none)))).store(out->end + row);
  }
  int first_row = 0, end_row = kTile;
  while (first_row < end_row && out->first[first_row] >= out->end[first_row]) ++first_row;
  while (first_row < end_row && out->first[end_row - 1] >= out->end[end_row - 1]) --end_row;
  out->first_row = first_row, out->end_row = end_row;
}

}  // namespace diffbmp::cpu
