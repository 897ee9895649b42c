// The vector layer on AVX2 + FMA + F16C: two registers of 256 bits. See simd.h.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

namespace teola {

constexpr int REGISTERS = 8;  // of 16 floats each

struct F16 {
  __m256 lo, hi;
};

struct I16 {
  __m256i lo, hi;
};

struct M16 {
  __m256 lo, hi;  // a lane is all ones or all zeros
};

inline __m256i lane_numbers() { return _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7); }

inline I16 first_ints(int n) {
  return {_mm256_cmpgt_epi32(_mm256_set1_epi32(n), lane_numbers()),
          _mm256_cmpgt_epi32(_mm256_set1_epi32(n - 8), lane_numbers())};
}

inline M16 first_lanes(int n) {
  const I16 m = first_ints(n);
  return {_mm256_castsi256_ps(m.lo), _mm256_castsi256_ps(m.hi)};
}

// ---------------------------------------------------------------- floats

inline F16 zeros() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
inline F16 set1(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
inline F16 load(const float* p) { return {_mm256_load_ps(p), _mm256_load_ps(p + 8)}; }
inline F16 loadu(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
inline F16 load_first(const float* p, int n) {
  if (n >= 16) return loadu(p);
  const I16 m = first_ints(n);
  return {_mm256_maskload_ps(p, m.lo), _mm256_maskload_ps(p + 8, m.hi)};
}
inline void store(float* p, F16 x) { _mm256_store_ps(p, x.lo), _mm256_store_ps(p + 8, x.hi); }
inline void storeu(float* p, F16 x) { _mm256_storeu_ps(p, x.lo), _mm256_storeu_ps(p + 8, x.hi); }
inline void store_first(float* p, F16 x, int n) {
  if (n >= 16) return storeu(p, x);
  const I16 m = first_ints(n);
  _mm256_maskstore_ps(p, m.lo, x.lo), _mm256_maskstore_ps(p + 8, m.hi, x.hi);
}

inline F16 operator+(F16 a, F16 b) { return {_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)}; }
inline F16 operator-(F16 a, F16 b) { return {_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)}; }
inline F16 operator*(F16 a, F16 b) { return {_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)}; }
inline F16 operator/(F16 a, F16 b) { return {_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)}; }
inline F16 fma(F16 a, F16 b, F16 c) {
  return {_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
}
inline F16 fnma(F16 a, F16 b, F16 c) {
  return {_mm256_fnmadd_ps(a.lo, b.lo, c.lo), _mm256_fnmadd_ps(a.hi, b.hi, c.hi)};
}
inline F16 min(F16 a, F16 b) { return {_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi)}; }
inline F16 max(F16 a, F16 b) { return {_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)}; }
inline F16 abs(F16 x) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  return {_mm256_andnot_ps(sign, x.lo), _mm256_andnot_ps(sign, x.hi)};
}

inline __m256 round_even(__m256 x) {
  return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
inline F16 round_even(F16 x) { return {round_even(x.lo), round_even(x.hi)}; }

// In two factors, so that results below the normal numbers are rounded once.
inline __m256 scale2(__m256 x, __m256 n) {
  const __m256i all = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(all, 1);
  const __m256i rest = _mm256_sub_epi32(all, half), bias = _mm256_set1_epi32(127);
  x = _mm256_mul_ps(x, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(half, bias), 23)));
  return _mm256_mul_ps(x, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(rest, bias), 23)));
}
inline F16 scale2(F16 x, F16 n) { return {scale2(x.lo, n.lo), scale2(x.hi, n.hi)}; }

inline M16 greater(F16 a, F16 b) {
  return {_mm256_cmp_ps(a.lo, b.lo, _CMP_GT_OQ), _mm256_cmp_ps(a.hi, b.hi, _CMP_GT_OQ)};
}
inline M16 is_nan(F16 x) {
  return {_mm256_cmp_ps(x.lo, x.lo, _CMP_UNORD_Q), _mm256_cmp_ps(x.hi, x.hi, _CMP_UNORD_Q)};
}
inline F16 select(M16 m, F16 yes, F16 no) {
  return {_mm256_blendv_ps(no.lo, yes.lo, m.lo), _mm256_blendv_ps(no.hi, yes.hi, m.hi)};
}

// The order of AVX-512's own reduction: halves onto halves.
inline float reduce_add(F16 x) {
  const __m256 eight = _mm256_add_ps(x.lo, x.hi);
  __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  four = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(four, _mm_movehdup_ps(four)));
}
inline float reduce_max(F16 x) {
  const __m256 eight = _mm256_max_ps(x.lo, x.hi);
  __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  four = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(four, _mm_movehdup_ps(four)));
}

// ---------------------------------------------------------------- ints of 32 bits

inline I16 zero_ints() { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
inline I16 set1_int(uint32_t x) { return {_mm256_set1_epi32(int(x)), _mm256_set1_epi32(int(x))}; }
inline I16 load_ints(const void* p) {
  return {_mm256_load_si256((const __m256i*)p), _mm256_load_si256((const __m256i*)p + 1)};
}
inline I16 loadu_ints(const void* p) {
  return {_mm256_loadu_si256((const __m256i*)p), _mm256_loadu_si256((const __m256i*)p + 1)};
}
inline I16 load_ints_first(const void* p, int n) {
  const I16 m = first_ints(n);
  return {_mm256_maskload_epi32((const int*)p, m.lo), _mm256_maskload_epi32((const int*)p + 8, m.hi)};
}
inline void store_ints(void* p, I16 x) {
  _mm256_store_si256((__m256i*)p, x.lo), _mm256_store_si256((__m256i*)p + 1, x.hi);
}
inline void storeu_ints(void* p, I16 x) {
  _mm256_storeu_si256((__m256i*)p, x.lo), _mm256_storeu_si256((__m256i*)p + 1, x.hi);
}

inline I16 operator+(I16 a, I16 b) {
  return {_mm256_add_epi32(a.lo, b.lo), _mm256_add_epi32(a.hi, b.hi)};
}
inline I16 operator-(I16 a, I16 b) {
  return {_mm256_sub_epi32(a.lo, b.lo), _mm256_sub_epi32(a.hi, b.hi)};
}
inline I16 operator&(I16 a, I16 b) {
  return {_mm256_and_si256(a.lo, b.lo), _mm256_and_si256(a.hi, b.hi)};
}
inline I16 operator|(I16 a, I16 b) {
  return {_mm256_or_si256(a.lo, b.lo), _mm256_or_si256(a.hi, b.hi)};
}
inline I16 shift_left(I16 x, int n) {
  return {_mm256_slli_epi32(x.lo, n), _mm256_slli_epi32(x.hi, n)};
}
inline I16 shift_right(I16 x, int n) {
  return {_mm256_srli_epi32(x.lo, n), _mm256_srli_epi32(x.hi, n)};
}
inline I16 shift_right_signed(I16 x, int n) {
  return {_mm256_srai_epi32(x.lo, n), _mm256_srai_epi32(x.hi, n)};
}

inline F16 as_floats(I16 x) { return {_mm256_castsi256_ps(x.lo), _mm256_castsi256_ps(x.hi)}; }
inline I16 as_ints(F16 x) { return {_mm256_castps_si256(x.lo), _mm256_castps_si256(x.hi)}; }
inline F16 to_floats(I16 x) { return {_mm256_cvtepi32_ps(x.lo), _mm256_cvtepi32_ps(x.hi)}; }
inline I16 to_ints(F16 x) { return {_mm256_cvtps_epi32(x.lo), _mm256_cvtps_epi32(x.hi)}; }
inline I16 select(M16 m, I16 yes, I16 no) {
  return as_ints(select(m, as_floats(yes), as_floats(no)));
}
inline int32_t reduce_add(I16 x) {
  const __m256i eight = _mm256_add_epi32(x.lo, x.hi);
  __m128i four = _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
  four = _mm_add_epi32(four, _mm_unpackhi_epi64(four, four));
  return _mm_cvtsi128_si32(_mm_add_epi32(four, _mm_shuffle_epi32(four, 1)));
}

// In place, and in the order of the code: else compilers take all products first, and have no room.
inline void add_dot_shorts(__m256i& sum, __m256i a, __m256i b) {
#if defined(__AVXVNNI__)
  sum = _mm256_dpwssd_avx_epi32(sum, a, b);
  asm volatile("" : "+x"(sum));
#elif defined(__AVX512VNNI__) && defined(__AVX512VL__)
  sum = _mm256_dpwssd_epi32(sum, a, b);
  asm volatile("" : "+x"(sum));
#else
  asm volatile("vpaddd %1, %0, %0" : "+x"(sum) : "x"(_mm256_madd_epi16(a, b)));
#endif
}
inline void add_dot_shorts(I16& sum, I16 a, I16 b) {
  add_dot_shorts(sum.lo, a.lo, b.lo);
  add_dot_shorts(sum.hi, a.hi, b.hi);
}

// ---------------------------------------------------------------- narrower numbers

inline __m128i load_half_register(const void* p) { return _mm_loadu_si128((const __m128i*)p); }

inline F16 load_halfs(const void* p) {
  return {_mm256_cvtph_ps(load_half_register(p)),
          _mm256_cvtph_ps(load_half_register((const char*)p + 16))};
}
inline I16 load_bytes(const int8_t* p) {
  const __m128i x = load_half_register(p);
  return {_mm256_cvtepi8_epi32(x), _mm256_cvtepi8_epi32(_mm_unpackhi_epi64(x, x))};
}
inline void store_shorts(int16_t* p, I16 x) {
  const __m256i packed = _mm256_packs_epi32(x.lo, x.hi);  // by halves of a register
  _mm256_storeu_si256((__m256i*)p, _mm256_permute4x64_epi64(packed, 0xd8));
}
inline void store_bytes(int8_t* p, I16 x) {
  const __m256i packed = _mm256_permute4x64_epi64(_mm256_packs_epi32(x.lo, x.hi), 0xd8);
  const __m128i lo = _mm256_castsi256_si128(packed), hi = _mm256_extracti128_si256(packed, 1);
  _mm_storeu_si128((__m128i*)p, _mm_packs_epi16(lo, hi));
}
inline I16 load_u16(const void* p) {
  return {_mm256_cvtepu16_epi32(load_half_register(p)),
          _mm256_cvtepu16_epi32(load_half_register((const char*)p + 16))};
}
inline I16 load_u16_first(const void* p, int n) {
  if (n >= 16) return load_u16(p);
  uint16_t some[16] = {};
  if (n > 0) std::memcpy(some, p, size_t(n) * 2);
  return load_u16(some);
}
inline void store_u16_first(void* p, I16 x, int n) {
  const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(x.lo, x.hi), 0xd8);
  if (n >= 16) return _mm256_storeu_si256((__m256i*)p, packed);
  uint16_t all[16];
  _mm256_storeu_si256((__m256i*)all, packed);
  if (n > 0) std::memcpy(p, all, size_t(n) * 2);
}

inline float half_to_float(uint16_t x) { return _cvtsh_ss(x); }
inline uint16_t float_to_half(float x) { return uint16_t(_cvtss_sh(x, 0)); }

// ---------------------------------------------------------------- the memory and the core

inline void hold(I16& x) { asm volatile("" : "+x"(x.lo), "+x"(x.hi)); }
inline void fetch_near(const void* p) { _mm_prefetch((const char*)p, _MM_HINT_T0); }
inline void fetch_far(const void* p) { _mm_prefetch((const char*)p, _MM_HINT_T1); }
inline void relax() { _mm_pause(); }

}  // namespace teola
