// Philox-4x32-10, the counter-based generator of Salmon et al. 2011 ("Parallel random numbers: as easy as 1, 2, 3"):
// any number of a stream at once, so that a pixel's noise depends on seed, step and pixel alone.
#pragma once

#include <cstdint>

namespace diffbmp::cuda {

__device__ __forceinline__ uint4 philox(uint4 counter, uint2 key) {
#pragma unroll
  for (int round = 0; round < 10; ++round) {
    const uint32_t high0 = __umulhi(0xD2511F53u, counter.x), low0 = 0xD2511F53u * counter.x;
    const uint32_t high1 = __umulhi(0xCD9E8D57u, counter.z), low1 = 0xCD9E8D57u * counter.z;
    counter = make_uint4(high1 ^ counter.y ^ key.x, low1, high0 ^ counter.w ^ key.y, low0);
    key.x += 0x9E3779B9u, key.y += 0xBB67AE85u;
  }
  return counter;
}

// Four numbers, uniform in [0, 1), for each pixel and step.
__device__ __forceinline__ float4 noise_at(uint64_t seed, int64_t step, int64_t pixel) {
  const uint4 bits = philox(make_uint4(static_cast<uint32_t>(pixel), static_cast<uint32_t>(pixel >> 32),
                                       static_cast<uint32_t>(step), static_cast<uint32_t>(step >> 32)),
                            make_uint2(static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)));
  constexpr float kUnit = 1.f / (1 << 24);
  return make_float4((bits.x >> 8) * kUnit, (bits.y >> 8) * kUnit, (bits.z >> 8) * kUnit, (bits.w >> 8) * kUnit);
}

}  // namespace diffbmp::cuda
