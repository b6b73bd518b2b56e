#include "binning.h"

#include <algorithm>

#include "parallel.h"

namespace diffbmp::cpu {
namespace {

// Tiles whose pixel centres, from 0.5 to size - 0.5, may lie within low..high: [first, end).
struct Range {
  int32_t first, end;
};

Range tiles_between(const Interval& extent, int size, int64_t count) {
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
Tiles<T> bin(const Bitmaps<T>& bitmaps, const Instances<T>& instances, const Canvas& canvas) {
  constexpr int64_t kBlock = 64;
  Tiles<T> out;
  out.across = (canvas.width + kTileWidth - 1) / kTileWidth;
  out.down = (canvas.height + kTileHeight - 1) / kTileHeight;
  out.places.resize(instances.count);
  std::vector<Corners> corners(instances.count);
  std::vector<Range> rows(instances.count, Range{0, 0});
  parallel_for_each((instances.count + kBlock - 1) / kBlock, [&](int64_t block) {
    for (int64_t i = block * kBlock; i < std::min(instances.count, (block + 1) * kBlock); ++i) {
      out.places[i] = place(bitmaps, instances, canvas, i, &corners[i]);
      if (out.places[i].drawn) rows[i] = tiles_between(vertical_extent(corners[i]), kTileHeight, out.down);
    }
  });

  out.begin.assign(out.across * out.down + 1, 0);
  std::vector<std::vector<Run>> runs(out.down);
  parallel_for_each(out.down, [&](int64_t row) {
    int64_t* count = out.begin.data() + row * out.across + 1;
    for (int64_t i = 0; i < instances.count; ++i) {
      if (row < rows[i].first || row >= rows[i].end) continue;
      const Interval extent = horizontal_extent(corners[i], row * kTileHeight + 0.5, (row + 1) * kTileHeight - 0.5);
      const Range columns = tiles_between(extent, kTileWidth, out.across);
      if (columns.first >= columns.end) continue;
      runs[row].push_back({static_cast<int32_t>(i), columns});
      for (int32_t column = columns.first; column < columns.end; ++column) ++count[column];
    }
  });
  for (size_t tile = 1; tile < out.begin.size(); ++tile) out.begin[tile] += out.begin[tile - 1];

  out.instances.resize(out.begin.back());
  parallel_for_each(out.down, [&](int64_t row) {
    std::vector<int64_t> next(out.begin.begin() + row * out.across, out.begin.begin() + (row + 1) * out.across);
    for (const Run& run : runs[row]) {
      for (int32_t column = run.columns.first; column < run.columns.end; ++column) {
        out.instances[next[column]++] = run.instance;
      }
    }
  });
  return out;
}

template Tiles<float> bin(const Bitmaps<float>&, const Instances<float>&, const Canvas&);
template Tiles<double> bin(const Bitmaps<double>&, const Instances<double>&, const Canvas&);

}  // namespace diffbmp::cpu
