// Which instances meet which tile of the canvas.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "tile.h"

namespace diffbmp::cpu {

template <typename T>
class Tiles {
 public:
  Tiles(const Bitmaps<T>& bitmaps, const Instances<T>& instances, const Canvas& canvas);

  int64_t count() const { return across_ * static_cast<int64_t>(rows_.size()); }

  // All pairs of a tile and an instance that meets it, numbered tile by tile.
  int64_t pair_count() const { return pair_count_; }

  // The instances that meet a tile, backmost first, and the number of its first pair.
  struct List {
    const int32_t *begin, *end;
    int64_t first_pair;
  };
  List list(int64_t tile) const {
    const Row& row = rows_[tile / across_];
    const int64_t begin = row.begin[tile % across_], end = row.begin[tile % across_ + 1];
    return {row.instances.data() + begin, row.instances.data() + end, row.first_pair + begin};
  }

  Tile tile(int64_t index) const {
    const int64_t left = index % across_ * kTileWidth, top = index / across_ * kTileHeight;
    return {left, top, std::min<int64_t>(kTileWidth, width_ - left), std::min<int64_t>(kTileHeight, height_ - top)};
  }

  const Placement<T>& place(int64_t instance) const { return places_[instance]; }

 private:
  struct Row {
    int64_t first_pair;
    std::vector<int64_t> begin;      // [across + 1], of each tile's instances
    std::vector<int32_t> instances;  // tile by tile
  };

  int64_t width_, height_;  // px, of the canvas
  int64_t across_;          // tiles in a row
  int64_t pair_count_;
  std::vector<Placement<T>> places_;  // [N]
  std::vector<Row> rows_;
};

}  // namespace diffbmp::cpu
