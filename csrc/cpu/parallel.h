#pragma once

#include <cstdint>
#include <functional>

namespace diffbmp::cpu {

// Runs task(0) .. task(count - 1) on ATen's threads, each free thread taking the next. Within a task, numbers too small
// to be normal are zero: they say nothing and cost a hundred cycles each.
void parallel_for_each(int64_t count, const std::function<void(int64_t)>& task);

// How many threads that is.
int64_t thread_count();

}  // namespace diffbmp::cpu
