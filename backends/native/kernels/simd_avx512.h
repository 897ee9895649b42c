// The vector layer on AVX-512 (F, BW, DQ, VL): one register of 512 bits. See simd.h.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace teola {

constexpr int REGISTERS = 32;  // of 16 floats each

struct F16 {
  __m512 v;
  F16() = default;
  F16(__m512 x) : v(x) {}
  operator __m512() const { return v; }
};

struct I16 {
  __m512i v;
  I16() = default;
  I16(__m512i x) : v(x) {}
  operator __m512i() const { return v; }
};

struct M16 {
  __mmask16 v;
};

inline M16 first_lanes(int n) {
  return {n >= 16 ? __mmask16(0xffff) : n <= 0 ? __mmask16(0) : __mmask16((1u << n) - 1)};
}

// ---------------------------------------------------------------- floats

inline F16 zeros() { return _mm512_setzero_ps(); }
inline F16 set1(float x) { return _mm512_set1_ps(x); }
inline F16 load(const float* p) { return _mm512_load_ps(p); }
inline F16 loadu(const float* p) { return _mm512_loadu_ps(p); }
inline F16 load_first(const float* p, int n) { return _mm512_maskz_loadu_ps(first_lanes(n).v, p); }
inline void store(float* p, F16 x) { _mm512_store_ps(p, x.v); }
inline void storeu(float* p, F16 x) { _mm512_storeu_ps(p, x.v); }
inline void store_first(float* p, F16 x, int n) { _mm512_mask_storeu_ps(p, first_lanes(n).v, x.v); }

inline F16 operator+(F16 a, F16 b) { return _mm512_add_ps(a.v, b.v); }
inline F16 operator-(F16 a, F16 b) { return _mm512_sub_ps(a.v, b.v); }
inline F16 operator*(F16 a, F16 b) { return _mm512_mul_ps(a.v, b.v); }
inline F16 operator/(F16 a, F16 b) { return _mm512_div_ps(a.v, b.v); }
inline F16 fma(F16 a, F16 b, F16 c) { return _mm512_fmadd_ps(a.v, b.v, c.v); }
inline F16 fnma(F16 a, F16 b, F16 c) { return _mm512_fnmadd_ps(a.v, b.v, c.v); }
inline F16 min(F16 a, F16 b) { return _mm512_min_ps(a.v, b.v); }
inline F16 max(F16 a, F16 b) { return _mm512_max_ps(a.v, b.v); }
inline F16 abs(F16 x) { return _mm512_abs_ps(x.v); }
inline F16 round_even(F16 x) {
  return _mm512_roundscale_ps(x.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
inline F16 scale2(F16 x, F16 n) { return _mm512_scalef_ps(x.v, n.v); }

inline M16 greater(F16 a, F16 b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_GT_OQ)}; }
inline M16 is_nan(F16 x) { return {_mm512_cmp_ps_mask(x.v, x.v, _CMP_UNORD_Q)}; }
inline F16 select(M16 m, F16 yes, F16 no) { return _mm512_mask_blend_ps(m.v, no.v, yes.v); }

inline float reduce_add(F16 x) { return _mm512_reduce_add_ps(x.v); }
inline float reduce_max(F16 x) { return _mm512_reduce_max_ps(x.v); }

// ---------------------------------------------------------------- ints of 32 bits

inline I16 zero_ints() { return _mm512_setzero_si512(); }
inline I16 set1_int(uint32_t x) { return _mm512_set1_epi32(int(x)); }
inline I16 load_ints(const void* p) { return _mm512_load_si512(p); }
inline I16 loadu_ints(const void* p) { return _mm512_loadu_si512(p); }
inline I16 load_ints_first(const void* p, int n) {
  return _mm512_maskz_loadu_epi32(first_lanes(n).v, p);
}
inline void store_ints(void* p, I16 x) { _mm512_store_si512(p, x.v); }
inline void storeu_ints(void* p, I16 x) { _mm512_storeu_si512(p, x.v); }

inline I16 operator+(I16 a, I16 b) { return _mm512_add_epi32(a.v, b.v); }
inline I16 operator-(I16 a, I16 b) { return _mm512_sub_epi32(a.v, b.v); }
inline I16 operator&(I16 a, I16 b) { return _mm512_and_si512(a.v, b.v); }
inline I16 operator|(I16 a, I16 b) { return _mm512_or_si512(a.v, b.v); }
inline I16 shift_left(I16 x, int n) { return _mm512_slli_epi32(x.v, unsigned(n)); }
inline I16 shift_right(I16 x, int n) { return _mm512_srli_epi32(x.v, unsigned(n)); }
inline I16 shift_right_signed(I16 x, int n) { return _mm512_srai_epi32(x.v, unsigned(n)); }
inline I16 select(M16 m, I16 yes, I16 no) { return _mm512_mask_blend_epi32(m.v, no.v, yes.v); }
inline int32_t reduce_add(I16 x) { return _mm512_reduce_add_epi32(x.v); }

inline F16 as_floats(I16 x) { return _mm512_castsi512_ps(x.v); }
inline I16 as_ints(F16 x) { return _mm512_castps_si512(x.v); }
inline F16 to_floats(I16 x) { return _mm512_cvtepi32_ps(x.v); }
inline I16 to_ints(F16 x) { return _mm512_cvtps_epi32(x.v); }

inline void add_dot_shorts(I16& sum, I16 a, I16 b) {
#ifdef __AVX512VNNI__
  sum = _mm512_dpwssd_epi32(sum.v, a.v, b.v);
#else
  sum = _mm512_add_epi32(sum.v, _mm512_madd_epi16(a.v, b.v));
#endif
}

// ---------------------------------------------------------------- narrower numbers

inline F16 load_halfs(const void* p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)p)); }
inline I16 load_bytes(const int8_t* p) {
  return _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i*)p));
}
inline void store_bytes(int8_t* p, I16 x) {
  _mm_storeu_si128((__m128i*)p, _mm512_cvtsepi32_epi8(x.v));
}
inline I16 load_u16(const void* p) {
  return _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)p));
}
inline I16 load_u16_first(const void* p, int n) {
  return _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(first_lanes(n).v, p));
}
inline void store_u16_first(void* p, I16 x, int n) {
  _mm256_mask_storeu_epi16(p, first_lanes(n).v, _mm512_cvtepi32_epi16(x.v));
}
inline void store_shorts(int16_t* p, I16 x) {
  _mm256_storeu_si256((__m256i*)p, _mm512_cvtsepi32_epi16(x.v));
}

inline float half_to_float(uint16_t x) { return _cvtsh_ss(x); }
inline uint16_t float_to_half(float x) { return uint16_t(_cvtss_sh(x, 0)); }

#ifdef __AVX512BF16__
#define TEOLA_HAS_BF16_DOT 1
inline F16 dot_bf16(F16 sum, I16 a, I16 b) {
  return _mm512_dpbf16_ps(sum.v, (__m512bh)a.v, (__m512bh)b.v);
}
inline void store_bf16(void* p, F16 x, int n = 16) {
  _mm256_mask_storeu_epi16(p, first_lanes(n).v, (__m256i)_mm512_cvtneps_pbh(x.v));
}
#endif

// ---------------------------------------------------------------- the memory and the core

inline void hold(I16& x) { asm volatile("" : "+v"(x.v)); }
inline void fetch_near(const void* p) { _mm_prefetch((const char*)p, _MM_HINT_T0); }
inline void fetch_far(const void* p) { _mm_prefetch((const char*)p, _MM_HINT_T1); }
inline void relax() { _mm_pause(); }

}  // namespace teola
