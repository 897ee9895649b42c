// Words: one float, or two bfloat16 that lie side by side in the reduced dimension, so that one
// kernel serves both. Sums are always float32.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "simd.h"

namespace teola {

using Word = uint32_t;

// 16 words as a product reads them.
template <bool BF>
using Operand = std::conditional_t<BF, Pairs, F16>;

template <bool BF>
inline Operand<BF> operand(I16 x) {
  if constexpr (BF) return pairs(x);
  else return as_floats(x);
}

template <bool BF>
inline Operand<BF> load_operand(const Word* p) {
  return operand<BF>(load_ints(p));
}

// The word at `a` times 16 words, added to 16 sums.
template <bool BF>
inline F16 mac(F16 sum, const Word* a, Operand<BF> b) {
  if constexpr (BF) return dot_pairs(sum, pairs(set1_int(*a)), b);
  else return fma(set1(*reinterpret_cast<const float*>(a)), b, sum);
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

// The first n of 16 floats to 16 or 8 words.
template <bool BF>
inline void store_words(Word* out, F16 x, int n = 16) {
  if constexpr (BF) store_bf16(out, x, n);
  else store_first(reinterpret_cast<float*>(out), x, n);
}

// Cephes' expf in vectors, about one unit in the last place: exp(x) = power 2^n.
struct PowerOfTwo {
  F16 n, power;
};
inline PowerOfTwo exp_parts(F16 x) {
  const F16 n = round_even(x * set1(1.44269504088896341f));
  F16 r = fnma(n, set1(0.693359375f), x);
  r = fnma(n, set1(-2.12194440e-4f), r);
  F16 p = set1(1.9875691500e-4f);
  p = fma(p, r, set1(1.3981999507e-3f));
  p = fma(p, r, set1(8.3334519073e-3f));
  p = fma(p, r, set1(4.1665795894e-2f));
  p = fma(p, r, set1(1.6666665459e-1f));
  p = fma(p, r, set1(5.0000001201e-1f));
  return {n, fma(p, r * r, r + set1(1.0f))};
}

inline F16 exp16(F16 x) {
  const PowerOfTwo e = exp_parts(max(min(x, set1(88.3762626647949f)), set1(-103.0f)));
  return scale2(e.power, e.n);
}

// From -87 to 0, where the result is a normal number; 0 below.
inline F16 exp_of_negative16(F16 x) {
  const PowerOfTwo e = exp_parts(x);
  const F16 y = as_floats(as_ints(e.power) + shift_left(to_ints(e.n), 23));
  return select(greater(x, set1(-87.0f)), y, zeros());
}

// 2^r for |r| <= 1/2 by degree: within 3e-6, and within rounding.
template <int DEGREE>
constexpr float EXP2[DEGREE + 1] = {};
template <>
inline constexpr float EXP2<4>[] = {1.0f, 0.6931241932f, 0.2402409862f, 0.05590642673f, 0.009582853144f};
template <>
inline constexpr float EXP2<6>[] = {1.0f, 0.6931472029f, 0.2402264791f, 0.05550332471f,
                                    0.009618437359f, 0.001339887465f, 0.0001535336203f};

constexpr float LOG2_E = 1.44269504088896341f;

// 2^x for x <= 0: 1 of 0, 0 below 2^-150, NaN of NaN.
template <int DEGREE>
inline F16 exp2_16(F16 x) {
  x = max(set1(-200.0f), x);
  const F16 n = round_even(x), r = x - n;
  F16 p = set1(EXP2<DEGREE>[DEGREE]);
  UNROLL for (int i = DEGREE - 1; i >= 0; i--) p = fma(p, r, set1(EXP2<DEGREE>[i]));
  return scale2(p, n);
}

inline F16 silu16(F16 x) { return x / (set1(1.0f) + exp16(zeros() - x)); }

}  // namespace teola
