// Philox-4x32-7, the counter-based generator of Salmon et al. 2011 ("Parallel random numbers: as easy as 1, 2, 3"):
// any number of a stream at once, so that a pixel's noise depends on seed, step and pixel alone. Seven rounds are the
// fewest that pass all of their tests of randomness.
#pragma once

#include <cstdint>

namespace diffbmp::cuda {

__device__ __forceinline__ uint4 philox(uint4 counter, uint2 key) {
#pragma unroll
  for (int round = 0; round < 7; ++round) {
    const uint32_t high0 = __umulhi(0xD2511F53u, counter.x), low0 = 0xD2511F53u * counter.x;
    const uint32_t high1 = __umulhi(0xCD9E8D57u, counter.z), low1 = 0xCD9E8D57u * counter.z;
    counter = make_uint4(high1 ^ counter.y ^ key.x, low1, high0 ^ counter.w ^ key.y, low0);
    key.x += 0x9E3779B9u, key.y += 0xBB67AE85u;
  }
  return counter;
}

struct NoisePair {
  float4 first, second;
};

// Four numbers, uniform in [0, 1), for each of two pixels and every step: those of `column` and column + 8, where bit 3
// of column is not set. 16 bits of each are enough for a picture, so that one call serves both.
__device__ __forceinline__ NoisePair noise_at(uint64_t seed, int64_t step, int32_t column, int32_t row) {
  const uint4 bits = philox(make_uint4(static_cast<uint32_t>(column), static_cast<uint32_t>(row),
                                       static_cast<uint32_t>(step), static_cast<uint32_t>(step >> 32)),
                            make_uint2(static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)));
  constexpr float kUnit = 1.f / (1 << 16);
  const auto four = [&](uint32_t a, uint32_t b) {
    return make_float4((a & 0xffff) * kUnit, (a >> 16) * kUnit, (b & 0xffff) * kUnit, (b >> 16) * kUnit);
  };
  return {four(bits.x, bits.y), four(bits.z, bits.w)};
}

}  // namespace diffbmp::cuda
