// As many numbers side by side as a vector register holds, written like one. Compilers' own vector types do the
// arithmetic; what those lack (one rounding in a b + c, reading scattered texels) is spelled per instruction set.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "../transform.h"

namespace diffbmp {
namespace cpu {

#if defined(__AVX512F__) && defined(__AVX512DQ__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif

template <typename T>
struct VectorOf;
#define DIFFBMP_VECTOR(T)                                       \
  template <>                                                   \
  struct VectorOf<T> {                                          \
    typedef T type __attribute__((vector_size(kVectorBytes)));  \
    typedef T half __attribute__((vector_size(kVectorBytes / 2))); \
  };
DIFFBMP_VECTOR(float)
DIFFBMP_VECTOR(double)
DIFFBMP_VECTOR(int32_t)
DIFFBMP_VECTOR(int64_t)
#undef DIFFBMP_VECTOR

template <typename T>
struct Lanes {
  using Raw = typename VectorOf<T>::type;
  using Integer = std::conditional_t<sizeof(T) == 4, int32_t, int64_t>;
  using Mask = Lanes<Integer>;  // all ones: true
  template <typename U>
  using InMemory =
      std::conditional_t<sizeof(U) == sizeof(T), typename VectorOf<U>::type, typename VectorOf<U>::half>;
  static constexpr int kCount = kVectorBytes / sizeof(T);

  Raw raw;

  Lanes() = default;
  DIFFBMP_INLINE Lanes(Raw value) : raw(value) {}
  DIFFBMP_INLINE Lanes(T value) : raw(Raw{} + value) {}
  template <typename U>
  DIFFBMP_INLINE explicit Lanes(Lanes<U> other) : raw(__builtin_convertvector(other.raw, Raw)) {}

  // 0, 1, 2, ...
  static DIFFBMP_INLINE Lanes count() {
    Lanes out;
    for (int lane = 0; lane < kCount; ++lane) out.raw[lane] = static_cast<T>(lane);
    return out;
  }

  // In memory, numbers may have half the size.
  template <typename U>
  static DIFFBMP_INLINE Lanes load(const U* from) {
    InMemory<U> stored;
    std::memcpy(&stored, from, sizeof(stored));
    return __builtin_convertvector(stored, Raw);
  }

  template <typename U>
  DIFFBMP_INLINE void store(U* to) const {
    const InMemory<U> stored = __builtin_convertvector(raw, InMemory<U>);
    std::memcpy(to, &stored, sizeof(stored));
  }

  DIFFBMP_INLINE double sum() const {
    double out = 0;
    for (int lane = 0; lane < kCount; ++lane) out += raw[lane];
    return out;
  }

  DIFFBMP_INLINE Lanes& operator+=(Lanes other) {
    raw += other.raw;
    return *this;
  }
  DIFFBMP_INLINE Lanes operator-() const { return -raw; }
  friend DIFFBMP_INLINE Lanes operator+(Lanes a, Lanes b) { return a.raw + b.raw; }
  friend DIFFBMP_INLINE Lanes operator-(Lanes a, Lanes b) { return a.raw - b.raw; }
  friend DIFFBMP_INLINE Lanes operator*(Lanes a, Lanes b) { return a.raw * b.raw; }
  friend DIFFBMP_INLINE Lanes operator/(Lanes a, Lanes b) { return a.raw / b.raw; }
  friend DIFFBMP_INLINE Mask operator<(Lanes a, Lanes b) { return typename Mask::Raw(a.raw < b.raw); }
  friend DIFFBMP_INLINE Mask operator>=(Lanes a, Lanes b) { return typename Mask::Raw(a.raw >= b.raw); }
  friend DIFFBMP_INLINE Lanes select(Mask where, Lanes a, Lanes b) { return where.raw ? a.raw : b.raw; }
  friend DIFFBMP_INLINE Lanes smaller(Lanes a, Lanes b) { return a.raw < b.raw ? a.raw : b.raw; }
  friend DIFFBMP_INLINE Lanes larger(Lanes a, Lanes b) { return a.raw > b.raw ? a.raw : b.raw; }

  friend DIFFBMP_INLINE Lanes madd(Lanes a, Lanes b, Lanes c) {
#if defined(__AVX512F__) && defined(__AVX512DQ__)
    if constexpr (std::is_same_v<T, float>) return Raw(_mm512_fmadd_ps(a.raw, b.raw, c.raw));
    if constexpr (std::is_same_v<T, double>) return Raw(_mm512_fmadd_pd(a.raw, b.raw, c.raw));
#elif defined(__AVX2__) && defined(__FMA__)
    if constexpr (std::is_same_v<T, float>) return Raw(_mm256_fmadd_ps(a.raw, b.raw, c.raw));
    if constexpr (std::is_same_v<T, double>) return Raw(_mm256_fmadd_pd(a.raw, b.raw, c.raw));
#endif
    return a.raw * b.raw + c.raw;
  }
};

// A texel and its right neighbour, read in one go where there is an instruction that gathers 64 bits.
template <typename T>
DIFFBMP_INLINE void load_pair(const T* plane, typename Lanes<T>::Mask texel, Lanes<T>* left, Lanes<T>* right) {
  using Raw = typename Lanes<T>::Raw;
#if defined(__AVX512F__) && defined(__AVX512DQ__)
  if constexpr (std::is_same_v<T, float>) {
    const __m512i index = reinterpret_cast<__m512i>(texel.raw);
    const __m512 low = _mm512_castpd_ps(_mm512_i32gather_pd(_mm512_castsi512_si256(index), plane, sizeof(T)));
    const __m512 high = _mm512_castpd_ps(_mm512_i32gather_pd(_mm512_extracti64x4_epi64(index, 1), plane, sizeof(T)));
    const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    *left = Raw(_mm512_permutex2var_ps(low, even, high));
    *right = Raw(_mm512_permutex2var_ps(low, _mm512_add_epi32(even, _mm512_set1_epi32(1)), high));
    return;
  }
#elif defined(__AVX2__)
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
DIFFBMP_INLINE Quad<Lanes<T>> load(const T* plane, typename Lanes<T>::Mask texel, int32_t stride) {
  Quad<Lanes<T>> out;
  load_pair(plane, texel, &out.v00, &out.v10);
  load_pair(plane + stride, texel, &out.v01, &out.v11);
  return out;
}

}  // namespace cpu

template <typename T>
struct Index<cpu::Lanes<T>> {
  using type = typename cpu::Lanes<T>::Mask;
};

}  // namespace diffbmp
