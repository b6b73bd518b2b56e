// Which instances meet which tile of the canvas.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "tile.h"

namespace diffbmp::cpu {

template <typename T>
struct Tiles {
  int64_t across, down;              // number of tiles
  std::vector<Placement<T>> places;  // [N]
  std::vector<int64_t> begin;        // [across * down + 1], row by row
  std::vector<int32_t> instances;    // those of tile t are [begin[t], begin[t + 1]), backmost first

  Tile tile(int64_t index, const Canvas& canvas) const {
    const int64_t left = index % across * kTileWidth, top = index / across * kTileHeight;
    return {left, top, std::min<int64_t>(kTileWidth, canvas.width - left),
            std::min<int64_t>(kTileHeight, canvas.height - top)};
  }
};

template <typename T>
Tiles<T> bin(const Bitmaps<T>& bitmaps, const Instances<T>& instances, const Canvas& canvas);

}  // namespace diffbmp::cpu
