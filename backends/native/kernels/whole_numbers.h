// Stored weights as pairs of bfloat16: whole numbers of up to 8 bits, which bfloat16 holds exactly.
#pragma once

#include "words.h"

namespace teola {

// The pairs of two vectors of floats that bfloat16 holds exactly, and back to words.
#ifdef TEOLA_HAS_BF16_DOT
inline Pairs exact_pairs(F16 low, F16 high) {
  return (as_ints(high) & set1_int(0xffff0000)) | shift_right(as_ints(low), 16);
}
inline I16 to_words(Pairs x) { return x; }
#else
inline Pairs exact_pairs(F16 low, F16 high) { return {low, high}; }
inline I16 to_words(Pairs x) {
  return (as_ints(x.high) & set1_int(0xffff0000)) | shift_right(as_ints(x.low), 16);
}
#endif

#ifdef __AVX512BF16__

// 32 signed bytes, those of a lane side by side.
inline Pairs byte_pairs(const uint8_t* at) {
  const __m512 lo = to_floats(load_bytes(reinterpret_cast<const int8_t*>(at)));
  const __m512 hi = to_floats(load_bytes(reinterpret_cast<const int8_t*>(at + 16)));
  return (__m512i)_mm512_cvtne2ps_pbh(hi, lo);
}

// Of each int the nibbles at bits `shift` and `shift` + 16, by a look-up of 0..15 in bfloat16; twice,
// for a look-up may not ignore bit 4 of its index.
class NibblePairs {
 public:
  inline Pairs operator()(I16 x, int shift) const {
    return _mm512_permutexvar_epi16(shift_right(x, shift), table_);
  }

 private:
  static __m512i table() {
    alignas(64) static const uint16_t numbers[32] = {
        0x0000, 0x3f80, 0x4000, 0x4040, 0x4080, 0x40a0, 0x40c0, 0x40e0, 0x4100, 0x4110, 0x4120,
        0x4130, 0x4140, 0x4150, 0x4160, 0x4170, 0x0000, 0x3f80, 0x4000, 0x4040, 0x4080, 0x40a0,
        0x40c0, 0x40e0, 0x4100, 0x4110, 0x4120, 0x4130, 0x4140, 0x4150, 0x4160, 0x4170};
    return _mm512_load_si512(numbers);
  }

  __m512i table_ = table();
};

#else

inline Pairs byte_pairs(const uint8_t* at) {
  const I16 x = load_u16(at);
  const I16 low = shift_right_signed(shift_left(x, 24), 24);
  const I16 high = shift_right_signed(shift_left(x, 16), 24);
  return exact_pairs(to_floats(low), to_floats(high));
}

struct NibblePairs {
  inline Pairs operator()(I16 x, int shift) const {
    const I16 low = shift_right(x, shift) & set1_int(15);
    const I16 high = shift_right(x, shift + 16) & set1_int(15);
    return exact_pairs(to_floats(low), to_floats(high));
  }
};

#endif

}  // namespace teola
