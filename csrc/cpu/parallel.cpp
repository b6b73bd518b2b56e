#include "parallel.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>

#if defined(__SSE__)
#include <xmmintrin.h>
#endif

namespace diffbmp::cpu {
namespace {

class FlushDenormals {
 public:
#if defined(__SSE__)
  FlushDenormals() : saved_(_mm_getcsr()) { _mm_setcsr(saved_ | kFlushToZero | kDenormalsAreZero); }
  ~FlushDenormals() { _mm_setcsr(saved_); }

 private:
  static constexpr unsigned kFlushToZero = 0x8000, kDenormalsAreZero = 0x0040;
  unsigned saved_;
#elif defined(__aarch64__)
  FlushDenormals() {
    asm volatile("mrs %0, fpcr" : "=r"(saved_));
    asm volatile("msr fpcr, %0" : : "r"(saved_ | kFlushToZero));
  }
  ~FlushDenormals() { asm volatile("msr fpcr, %0" : : "r"(saved_)); }

 private:
  static constexpr uint64_t kFlushToZero = 1u << 24;
  uint64_t saved_;
#endif
};

}  // namespace

void parallel_for_each(int64_t count, const std::function<void(int64_t)>& task) {
  // ATen cuts a range into one piece per thread, whatever the pieces weigh; the counter evens them out.
  std::atomic<int64_t> next{0};
  at::parallel_for(0, std::min(count, thread_count()), 1, [&](int64_t, int64_t) {
    const FlushDenormals guard;
    for (int64_t i = next++; i < count; i = next++) task(i);
  });
}

int64_t thread_count() {
  return at::get_num_threads();
}

}  // namespace diffbmp::cpu
