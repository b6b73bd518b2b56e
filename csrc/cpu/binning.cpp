#include "binning.h"

#include "parallel.h"

namespace diffbmp::cpu {
namespace {

constexpr int64_t kBlock = 64;  // instances that one task places

struct Range {
  int32_t first, end;
};

// Of `count` tiles of `size` px, those whose pixel centres may lie within an interval.
Range tiles_within(const Interval& extent, int size, int64_t count) {
  const double limit = static_cast<double>(count);
  const double first = std::ceil((extent.low + 0.5) / size) - 1, last = std::floor((extent.high - 0.5) / size);
  return {static_cast<int32_t>(std::clamp(first, 0.0, limit)), static_cast<int32_t>(std::clamp(last + 1, 0.0, limit))};
}

struct Run {
  int32_t instance;
  Range columns;
};

}  // namespace

template <typename T>
Tiles<T>::Tiles(const Bitmaps<T>& bitmaps, const Instances<T>& instances, const Canvas& canvas)
    : width_(canvas.width),
      height_(canvas.height),
      across_((canvas.width + kTileWidth - 1) / kTileWidth),
      pair_count_(0),
      places_(instances.count),
      rows_((canvas.height + kTileHeight - 1) / kTileHeight) {
  const int64_t down = static_cast<int64_t>(rows_.size());
  std::vector<Corners> corners(instances.count);
  std::vector<Range> extents(instances.count, Range{0, 0});  // in rows of tiles
  parallel_for_each((instances.count + kBlock - 1) / kBlock, [&](int64_t block) {
    for (int64_t i = block * kBlock; i < std::min(instances.count, (block + 1) * kBlock); ++i) {
      places_[i] = diffbmp::place(bitmaps, instances, canvas, i, &corners[i]);
      if (places_[i].drawn) extents[i] = tiles_within(vertical_extent(corners[i]), kTileHeight, down);
    }
  });

  parallel_for_each(down, [&](int64_t index) {
    Row& row = rows_[index];
    row.begin.assign(across_ + 1, 0);
    std::vector<Run> runs;
    for (int64_t i = 0; i < instances.count; ++i) {
      if (index < extents[i].first || index >= extents[i].end) continue;
      const Interval extent =
          horizontal_extent(corners[i], index * kTileHeight + 0.5, (index + 1) * kTileHeight - 0.5);
      const Range columns = tiles_within(extent, kTileWidth, across_);
      if (columns.first >= columns.end) continue;
      runs.push_back({static_cast<int32_t>(i), columns});
      for (int32_t column = columns.first; column < columns.end; ++column) ++row.begin[column + 1];
    }
    for (int64_t column = 0; column < across_; ++column) row.begin[column + 1] += row.begin[column];
    row.instances.resize(row.begin.back());
    std::vector<int64_t> next(row.begin.begin(), row.begin.end() - 1);
    for (const Run& run : runs) {
      for (int32_t column = run.columns.first; column < run.columns.end; ++column) {
        row.instances[next[column]++] = run.instance;
      }
    }
  });

  for (Row& row : rows_) {
    row.first_pair = pair_count_;
    pair_count_ += static_cast<int64_t>(row.instances.size());
  }
}

template class Tiles<float>;
template class Tiles<double>;

}  // namespace diffbmp::cpu
