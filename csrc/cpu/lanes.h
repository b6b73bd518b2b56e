// As many numbers side by side as a vector register holds, written like one. The compiler's vector types do the
// arithmetic; what they lack, or spell in two instructions, is written out per instruction set.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "../transform.h"

#if defined(__AVX512F__) && defined(__AVX512DQ__)
#define DIFFBMP_AVX512 1
#include <immintrin.h>
#elif defined(__AVX2__) && defined(__FMA__)
#define DIFFBMP_AVX2 1
#include <immintrin.h>
#endif

namespace diffbmp {
namespace cpu {

#if DIFFBMP_AVX512
constexpr int kVectorBytes = 64;
#elif DIFFBMP_AVX2
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif

template <typename T>
struct VectorOf;
#define DIFFBMP_VECTOR_OF(T)                                       \
  template <>                                                      \
  struct VectorOf<T> {                                             \
    typedef T type __attribute__((vector_size(kVectorBytes)));     \
    typedef T half __attribute__((vector_size(kVectorBytes / 2))); \
  };
DIFFBMP_VECTOR_OF(float)
DIFFBMP_VECTOR_OF(double)
DIFFBMP_VECTOR_OF(int32_t)
DIFFBMP_VECTOR_OF(int64_t)
#undef DIFFBMP_VECTOR_OF

template <typename T>
struct Lanes {
  using Raw = typename VectorOf<T>::type;
  using Integers = Lanes<std::conditional_t<sizeof(T) == 4, int32_t, int64_t>>;  // as truth values: 0 and -1
  template <typename U>
  using InMemory = std::conditional_t<sizeof(U) == sizeof(T), typename VectorOf<U>::type, typename VectorOf<U>::half>;
  static constexpr int kCount = kVectorBytes / sizeof(T);

  Raw raw;

  Lanes() = default;
  DIFFBMP_INLINE Lanes(Raw value) : raw(value) {}
  DIFFBMP_INLINE Lanes(T value) : raw(value - Raw{}) {}
  template <typename U>
  DIFFBMP_INLINE explicit Lanes(Lanes<U> other) : raw(__builtin_convertvector(other.raw, Raw)) {}

  // 0, 1, 2, ...
  static DIFFBMP_INLINE Lanes count() {
    Lanes out;
    for (int lane = 0; lane < kCount; ++lane) out.raw[lane] = static_cast<T>(lane);
    return out;
  }

  // The first `count` numbers from memory, then zeros. In memory they may be half as wide.
  template <typename U>
  static DIFFBMP_INLINE Lanes load(const U* from, int64_t count = kCount) {
    InMemory<U> stored{};
    if (count >= kCount) {
      std::memcpy(&stored, from, sizeof(stored));
    } else {
      std::memcpy(&stored, from, count * sizeof(U));
    }
    return __builtin_convertvector(stored, Raw);
  }

  // The first `count` numbers to memory.
  template <typename U>
  DIFFBMP_INLINE void store(U* to, int64_t count = kCount) const {
    const InMemory<U> stored = __builtin_convertvector(raw, InMemory<U>);
    if (count >= kCount) {
      std::memcpy(to, &stored, sizeof(stored));
    } else {
      std::memcpy(to, &stored, count * sizeof(U));
    }
  }

  DIFFBMP_INLINE T sum() const {
    T part[kCount];
    store(part);
    for (int step = kCount / 2; step > 0; step /= 2) {
      for (int lane = 0; lane < step; ++lane) part[lane] += part[lane + step];
    }
    return part[0];
  }

  DIFFBMP_INLINE Lanes& operator+=(Lanes other) { return *this = *this + other; }
  DIFFBMP_INLINE Lanes operator-() const { return -raw; }
  friend DIFFBMP_INLINE Lanes operator+(Lanes a, Lanes b) { return a.raw + b.raw; }
  friend DIFFBMP_INLINE Lanes operator-(Lanes a, Lanes b) { return a.raw - b.raw; }
  friend DIFFBMP_INLINE Lanes operator*(Lanes a, Lanes b) { return a.raw * b.raw; }
  friend DIFFBMP_INLINE Lanes operator/(Lanes a, Lanes b) { return a.raw / b.raw; }
  friend DIFFBMP_INLINE Integers operator<(Lanes a, Lanes b) { return typename Integers::Raw(a.raw < b.raw); }
  friend DIFFBMP_INLINE Integers operator>=(Lanes a, Lanes b) { return typename Integers::Raw(a.raw >= b.raw); }
  friend DIFFBMP_INLINE Lanes operator&(Lanes a, Lanes b) { return a.raw & b.raw; }
  friend DIFFBMP_INLINE Lanes select(Integers where, Lanes a, Lanes b) { return where.raw ? a.raw : b.raw; }

  friend DIFFBMP_INLINE bool all(Lanes truth) {
    T out = -1;
    for (int lane = 0; lane < kCount; ++lane) out &= truth.raw[lane];
    return out != 0;
  }

  friend DIFFBMP_INLINE Lanes smaller(Lanes a, Lanes b) {
#if DIFFBMP_AVX512
    if constexpr (std::is_same_v<T, float>) return Raw(_mm512_min_ps(a.raw, b.raw));
#elif DIFFBMP_AVX2
    if constexpr (std::is_same_v<T, float>) return Raw(_mm256_min_ps(a.raw, b.raw));
#endif
    return a.raw < b.raw ? a.raw : b.raw;
  }

  friend DIFFBMP_INLINE Lanes larger(Lanes a, Lanes b) {
#if DIFFBMP_AVX512
    if constexpr (std::is_same_v<T, float>) return Raw(_mm512_max_ps(a.raw, b.raw));
#elif DIFFBMP_AVX2
    if constexpr (std::is_same_v<T, float>) return Raw(_mm256_max_ps(a.raw, b.raw));
#endif
    return a.raw > b.raw ? a.raw : b.raw;
  }

  friend DIFFBMP_INLINE Lanes madd(Lanes a, Lanes b, Lanes c) {
#if DIFFBMP_AVX512
    if constexpr (std::is_same_v<T, float>) return Raw(_mm512_fmadd_ps(a.raw, b.raw, c.raw));
    if constexpr (std::is_same_v<T, double>) return Raw(_mm512_fmadd_pd(a.raw, b.raw, c.raw));
#elif DIFFBMP_AVX2
    if constexpr (std::is_same_v<T, float>) return Raw(_mm256_fmadd_ps(a.raw, b.raw, c.raw));
    if constexpr (std::is_same_v<T, double>) return Raw(_mm256_fmadd_pd(a.raw, b.raw, c.raw));
#endif
    return a.raw * b.raw + c.raw;
  }
};

// Texels and their right neighbours. Where there is an instruction that gathers 64 bits, it takes both at once.
template <typename T>
DIFFBMP_INLINE void load_pairs(const T* plane, typename Lanes<T>::Integers texel, Lanes<T>* left, Lanes<T>* right) {
  using Raw [[maybe_unused]] = typename Lanes<T>::Raw;
#if DIFFBMP_AVX512
  if constexpr (std::is_same_v<T, float>) {
    const __m512i index = reinterpret_cast<__m512i>(texel.raw);
    const __m512 low = _mm512_castpd_ps(_mm512_i32gather_pd(_mm512_castsi512_si256(index), plane, sizeof(T)));
    const __m512 high = _mm512_castpd_ps(_mm512_i32gather_pd(_mm512_extracti64x4_epi64(index, 1), plane, sizeof(T)));
    const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512i odd = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
    *left = Raw(_mm512_permutex2var_ps(low, even, high));
    *right = Raw(_mm512_permutex2var_ps(low, odd, high));
    return;
  }
#elif DIFFBMP_AVX2
  if constexpr (std::is_same_v<T, float>) {
    const __m256i index = reinterpret_cast<__m256i>(texel.raw);
    const double* pairs = reinterpret_cast<const double*>(plane);
    const __m256 low = _mm256_castpd_ps(_mm256_i32gather_pd(pairs, _mm256_castsi256_si128(index), sizeof(T)));
    const __m256 high = _mm256_castpd_ps(_mm256_i32gather_pd(pairs, _mm256_extracti128_si256(index, 1), sizeof(T)));
    const auto in_order = [](__m256 mixed) {
      return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(mixed), _MM_SHUFFLE(3, 1, 2, 0)));
    };
    *left = Raw(in_order(_mm256_shuffle_ps(low, high, _MM_SHUFFLE(2, 0, 2, 0))));
    *right = Raw(in_order(_mm256_shuffle_ps(low, high, _MM_SHUFFLE(3, 1, 3, 1))));
    return;
  }
#endif
  for (int lane = 0; lane < Lanes<T>::kCount; ++lane) {
    left->raw[lane] = plane[texel.raw[lane]];
    right->raw[lane] = plane[texel.raw[lane] + 1];
  }
}

template <typename T>
DIFFBMP_INLINE Quad<Lanes<T>> load(const T* plane, typename Lanes<T>::Integers texel, int32_t stride) {
  Quad<Lanes<T>> out;
  load_pairs(plane, texel, &out.v00, &out.v10);
  load_pairs(plane + stride, texel, &out.v01, &out.v11);
  return out;
}

}  // namespace cpu

template <typename T>
struct Index<cpu::Lanes<T>> {
  using type = typename cpu::Lanes<T>::Integers;
};

}  // namespace diffbmp
