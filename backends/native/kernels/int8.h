// Dot products of 8-bit inputs with 4-bit and 8-bit weights: whole numbers, exact in any order.
//
// A `Quad` is 4 consecutive inputs of 16 outputs, a byte each. Weights are unsigned: 0..15, or the
// file's signed byte + 128. Inputs are signed, -127..127, four of them in an int32.
//
//   NibbleDots  adds up to 8 quads of 0..15: a group of 32 inputs
//   ByteDots    adds up to 8 quads of bytes; `start` takes -128 times the sum of the group's inputs,
//               which the sets with a product of unsigned by signed bytes begin with
//   keep()      after an add: what came so far is one number. Compilers would else add all quads as a
//               tree, and in tiles of many rows its terms leave the registers
#pragma once

#include "simd.h"

namespace teola {

constexpr uint32_t SIGN_BITS = 0x80808080;
constexpr uint32_t LOW_NIBBLES = 0x0f0f0f0f;

using Quad = I16;

inline Quad load_quad(const uint8_t* p) { return load_ints(p); }
inline Quad low_nibbles(Quad x) { return x & set1_int(LOW_NIBBLES); }
inline Quad high_nibbles(Quad x) { return shift_right(x, 4) & set1_int(LOW_NIBBLES); }

#if defined(__AVX512VNNI__) || defined(__AVXVNNI__) || defined(__ARM_FEATURE_DOTPROD)
#define TEOLA_HAS_BYTE_DOT 1
#endif

#if defined(__aarch64__)

// Signed bytes by signed bytes: 8-bit weights lose their 128 first.
inline int8x16_t as_bytes(uint32x4_t x) { return vreinterpretq_s8_u32(x); }

#ifdef TEOLA_HAS_BYTE_DOT
inline uint32x4_t dot_bytes(uint32x4_t sum, uint32x4_t w, int8x16_t a) {
  return vreinterpretq_u32_s32(vdotq_s32(vreinterpretq_s32_u32(sum), as_bytes(w), a));
}
#else
inline uint32x4_t dot_bytes(uint32x4_t sum, uint32x4_t w, int8x16_t a) {
  const int16x8_t low = vmull_s8(vget_low_s8(as_bytes(w)), vget_low_s8(a));
  const int16x8_t high = vmull_high_s8(as_bytes(w), a);
  const int32x4_t fours = vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high));
  return sum + vreinterpretq_u32_s32(fours);
}
#endif

struct NibbleDots {
  I16 sums;
  static inline NibbleDots start() { return {zero_ints()}; }
  inline void add(Quad w, int32_t inputs) {
    const int8x16_t a = vreinterpretq_s8_s32(vdupq_n_s32(inputs));
    sums = {dot_bytes(sums.a, w.a, a), dot_bytes(sums.b, w.b, a), dot_bytes(sums.c, w.c, a),
            dot_bytes(sums.d, w.d, a)};
  }
  inline void keep() {}
  inline I16 total() const { return sums; }
};

struct ByteDots {
  NibbleDots dots;
  static inline ByteDots start(int32_t) { return {NibbleDots::start()}; }
  static inline Quad ready(Quad w) {
    const uint32x4_t s = vdupq_n_u32(SIGN_BITS);
    return {w.a ^ s, w.b ^ s, w.c ^ s, w.d ^ s};
  }
  inline void add(Quad w, int32_t inputs) { dots.add(w, inputs); }
  inline void keep() {}
  inline I16 total() const { return dots.total(); }
};

#elif defined(TEOLA_HAS_BYTE_DOT)

#if defined(__AVX512BW__) && defined(__AVX512DQ__)
inline I16 dot_bytes(I16 sum, Quad w, int32_t inputs) {
  return _mm512_dpbusd_epi32(sum.v, w.v, _mm512_set1_epi32(inputs));
}
#else
inline __m256i dot_bytes(__m256i sum, __m256i w, __m256i a) {
#ifdef __AVXVNNI__
  return _mm256_dpbusd_avx_epi32(sum, w, a);
#else
  return _mm256_dpbusd_epi32(sum, w, a);
#endif
}
inline I16 dot_bytes(I16 sum, Quad w, int32_t inputs) {
  const __m256i a = _mm256_set1_epi32(inputs);
  return {dot_bytes(sum.lo, w.lo, a), dot_bytes(sum.hi, w.hi, a)};
}
#endif

struct ByteDots {
  I16 sums;
  static inline ByteDots start(int32_t offset) { return {set1_int(uint32_t(offset))}; }
  static inline Quad ready(Quad w) { return w; }
  inline void add(Quad w, int32_t inputs) { sums = dot_bytes(sums, w, inputs); }
  inline void keep() {}
  inline I16 total() const { return sums; }
};

struct NibbleDots : ByteDots {
  static inline NibbleDots start() { return {{zero_ints()}}; }
};

#else

// Products of unsigned by signed bytes added in pairs to int16: 8 quads of 2 x 15 x 127 still fit.
// An 8-bit weight's sign goes to its input (2 x 128 x 127 fits too), and each quad to int32.
#if defined(__AVX512BW__)
inline I16 pair_sums(Quad w, I16 a) { return _mm512_maddubs_epi16(w.v, a.v); }
inline I16 add_shorts(I16 x, I16 y) { return _mm512_add_epi16(x.v, y.v); }
inline I16 add_pairs(I16 x) { return _mm512_madd_epi16(x.v, _mm512_set1_epi16(1)); }
inline I16 signed_bytes(Quad w) { return _mm512_xor_si512(w.v, set1_int(SIGN_BITS).v); }
inline I16 abs_bytes(I16 w) { return _mm512_abs_epi8(w.v); }
inline I16 give_sign(I16 a, I16 w) {
  return _mm512_mask_sub_epi8(a.v, _mm512_movepi8_mask(w.v), _mm512_setzero_si512(), a.v);
}
#else
inline I16 pair_sums(Quad w, I16 a) {
  return {_mm256_maddubs_epi16(w.lo, a.lo), _mm256_maddubs_epi16(w.hi, a.hi)};
}
inline I16 add_shorts(I16 x, I16 y) {
  return {_mm256_add_epi16(x.lo, y.lo), _mm256_add_epi16(x.hi, y.hi)};
}
inline I16 add_pairs(I16 x) {
  const __m256i ones = _mm256_set1_epi16(1);
  return {_mm256_madd_epi16(x.lo, ones), _mm256_madd_epi16(x.hi, ones)};
}
inline I16 signed_bytes(Quad w) {
  const __m256i s = _mm256_set1_epi32(int(SIGN_BITS));
  return {_mm256_xor_si256(w.lo, s), _mm256_xor_si256(w.hi, s)};
}
inline I16 abs_bytes(I16 w) { return {_mm256_abs_epi8(w.lo), _mm256_abs_epi8(w.hi)}; }
inline I16 give_sign(I16 a, I16 w) {
  return {_mm256_sign_epi8(a.lo, w.lo), _mm256_sign_epi8(a.hi, w.hi)};
}
#endif

struct NibbleDots {
  I16 shorts;
  static inline NibbleDots start() { return {zero_ints()}; }
  inline void add(Quad w, int32_t inputs) {
    shorts = add_shorts(shorts, pair_sums(w, set1_int(uint32_t(inputs))));
  }
  inline void keep() { hold(shorts); }
  inline I16 total() const { return add_pairs(shorts); }
};

struct ByteDots {
  I16 sums;
  static inline ByteDots start(int32_t) { return {zero_ints()}; }
  static inline Quad ready(Quad w) { return signed_bytes(w); }
  inline void add(Quad w, int32_t inputs) {
    const I16 a = give_sign(set1_int(uint32_t(inputs)), w);
    sums = sums + add_pairs(pair_sums(abs_bytes(w), a));
  }
  inline void keep() { hold(sums); }
  inline I16 total() const { return sums; }
};

#endif

}  // namespace teola
