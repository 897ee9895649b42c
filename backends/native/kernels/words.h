// Words: one float, or two bfloat16 that lie side by side in the reduced dimension, so that one
// kernel serves both. Sums are always float32.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

#define UNROLL _Pragma("GCC unroll 16")

namespace teola {

using Word = uint32_t;

template <bool BF>
inline __m512 mac(__m512 sum, const Word* a, __m512i b) {
  if constexpr (BF) {
#ifdef __AVX512BF16__
    return _mm512_dpbf16_ps(sum, (__m512bh)_mm512_set1_epi32(int(*a)), (__m512bh)b);
#else
    __builtin_unreachable();
#endif
  } else {
    return _mm512_fmadd_ps(_mm512_set1_ps(*reinterpret_cast<const float*>(a)),
                           _mm512_castsi512_ps(b), sum);
  }
}

inline uint16_t to_bf16(float x) {  // to nearest, ties to even
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  if ((bits & 0x7fffffff) > 0x7f800000) return uint16_t((bits >> 16) | 64);
  return uint16_t((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

inline float from_bf16(uint16_t x) {
  uint32_t bits = uint32_t(x) << 16;
  float out;
  std::memcpy(&out, &bits, 4);
  return out;
}

inline float from_half(uint16_t x) { return _cvtsh_ss(x); }

// 16 floats to 16 or 8 words.
template <bool BF>
inline void store_words(Word* out, __m512 x, __mmask16 mask = 0xffff) {
  if constexpr (BF) {
#ifdef __AVX512BF16__
    _mm256_mask_storeu_epi16(out, mask, (__m256i)_mm512_cvtneps_pbh(x));
#endif
  } else {
    _mm512_mask_storeu_ps(out, mask, x);
  }
}

// Cephes' expf in vectors: about one unit in the last place.
inline __m512 exp16(__m512 x) {
  x = _mm512_max_ps(_mm512_min_ps(x, _mm512_set1_ps(88.3762626647949f)), _mm512_set1_ps(-103.0f));
  __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504088896341f)),
                                  _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
  r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), r);
  __m512 p = _mm512_set1_ps(1.9875691500e-4f);
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.3981999507e-3f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(8.3334519073e-3f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(4.1665795894e-2f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.6666665459e-1f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(5.0000001201e-1f));
  p = _mm512_fmadd_ps(p, _mm512_mul_ps(r, r), _mm512_add_ps(r, _mm512_set1_ps(1.0f)));
  return _mm512_scalef_ps(p, n);
}

inline __m512 silu16(__m512 x) {
  __m512 e = exp16(_mm512_sub_ps(_mm512_setzero_ps(), x));
  return _mm512_div_ps(x, _mm512_add_ps(_mm512_set1_ps(1.0f), e));
}

}  // namespace teola
