// The vector layer: 16 lanes on every instruction set, so that panels, pages and orders of sums are
// the same everywhere. What the compiler may use decides which of the three files serves.
//
// F16: 16 floats. I16: 16 ints of 32 bits. M16: 16 truths.
//
//   set1 zeros load loadu load_first store storeu store_first     floats in memory; `first`: n lanes,
//                                                                 others 0 or left; n may be any number
//   + - * / fma fnma min max abs round_even scale2                fma: a b + c; fnma: c - a b;
//                                                                 min, max: b where one is NaN
//   first_lanes greater is_nan select                             truths
//   reduce_add reduce_max                                         in one order on every set
//   set1_int zero_ints load_ints loadu_ints store_ints ..         ints; load_ints_first as load_first
//   + - & | shift_left shift_right shift_right_signed select reduce_add
//   as_floats as_ints to_floats to_ints                           the same bits; the same number
//   add_dot_shorts                                                pairs of int16 times pairs, added
//                                                                 to ints, exact
//   load_halfs load_bytes load_u16 store_bytes store_shorts ..    narrower numbers in memory
//   store_bf16 load_bf16 rounded_to_bf16 low_bf16 high_bf16       bfloat16, see below
//   fetch_near fetch_far relax                                    caches; a breath while waiting
//   hold                                                          keeps a sum in its registers: what
//                                                                 follows is computed after it
//
// REGISTERS: how many F16 the set's registers hold. `load`, `store`: addresses of 64 bytes.
#pragma once

#if defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__) && TEOLA_VECTOR_BITS != 256
#include "simd_avx512.h"
#elif defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#include "simd_avx2.h"
#elif defined(__aarch64__)
#include "simd_neon.h"
#else
#error "the kernels need AVX2 with FMA and F16C, AVX-512, or 64-bit ARM"
#endif

#define UNROLL _Pragma("GCC unroll 16")

namespace teola {

inline F16 load_bf16(const void* p) { return as_floats(shift_left(load_u16(p), 16)); }

// The two bfloat16 of each word as floats: the first lies in the low half.
inline F16 low_bf16(I16 x) { return as_floats(shift_left(x, 16)); }
inline F16 high_bf16(I16 x) { return as_floats(x & set1_int(0xffff0000)); }

// The nearest number that bfloat16 holds, ties to even; not for NaN.
inline F16 rounded_to_bf16(F16 x) {
  const I16 bits = as_ints(x);
  const I16 odd = shift_right(bits, 16) & set1_int(1);
  return high_bf16(bits + set1_int(0x7fff) + odd);
}

// Words of two bfloat16: to nearest, ties to even; NaN stays NaN.
inline I16 bf16_words(F16 low, F16 high) {
  const auto bits = [](F16 x) {
    return select(is_nan(x), set1_int(0x7fc00000), as_ints(rounded_to_bf16(x)));
  };
  return shift_right(bits(low), 16) | bits(high);
}

// What a product does with words of two bfloat16: `Pairs`, and pairs(x) makes one of 16 words.
// With a dot instruction they stay words; without, they are spread once and used by every row.
#ifdef TEOLA_HAS_BF16_DOT
constexpr bool HAS_BF16_DOT = true;
using Pairs = I16;
inline Pairs pairs(I16 x) { return x; }
inline F16 dot_pairs(F16 sum, Pairs a, Pairs b) { return dot_bf16(sum, a, b); }
#else
constexpr bool HAS_BF16_DOT = false;
struct Pairs {
  F16 low, high;
};
inline Pairs pairs(I16 x) { return {low_bf16(x), high_bf16(x)}; }
inline F16 dot_pairs(F16 sum, Pairs a, Pairs b) {
  return fma(a.high, b.high, fma(a.low, b.low, sum));
}

// To nearest, ties to even; NaN stays NaN.
inline void store_bf16(void* p, F16 x, int n = 16) {
  const I16 rounded = shift_right(as_ints(rounded_to_bf16(x)), 16);
  store_u16_first(p, select(is_nan(x), set1_int(0x7fc0), rounded), n);
}
#endif

}  // namespace teola
