// Weights in panels of 32 columns (output features).
//
// 4-bit and 8-bit panels keep the groups of 32 weights of GGUF's Q4_1 and Q8_0 with their own scales:
// whole numbers are exact in bfloat16, so a group's sum is taken over them and scaled once: no weight
// is rounded again.
#pragma once

#include "whole_numbers.h"

namespace teola {

constexpr int PANEL = 32;          // columns of a panel: two vectors of 16 floats
constexpr int GROUP = 32;          // weights of a column that share a scale
constexpr size_t Q4_BYTES = 640;   // a group of a panel: 32 scales, 32 minima, 32 x 32 half bytes
constexpr size_t Q8_BYTES = 1088;  // a group of a panel: 32 scales, 32 x 32 bytes

// Q8, Q4: for products with bfloat16 inputs; Q8_INT8, Q4_INT8: for int8 inputs, see product_int8.h;
// SHORTS: for int16 inputs, see shorts.h.
enum Format : int32_t { F32 = 0, BF16 = 1, Q8 = 2, Q4 = 3, Q8_INT8 = 4, Q4_INT8 = 5, SHORTS = 6 };

inline bool is_int8(int format) { return format == Q8_INT8 || format == Q4_INT8; }

struct Linear {
  int32_t format;
  int32_t n, k;         // output and input features
  const uint8_t* data;  // panels, 64-byte aligned
  const float* bias;    // [n] or null
};

// int16 numbers of a panel, whole groups; the columns' scales lie behind them.
inline size_t short_words_bytes(int64_t k) {
  return size_t(k + GROUP - 1) / GROUP * GROUP * PANEL * 2;
}

inline size_t panel_bytes(int format, int64_t k) {
  switch (format) {
    case SHORTS: return short_words_bytes(k) + PANEL * 4;
    case F32: return size_t(k) * PANEL * 4;
    case BF16: return size_t(k) * PANEL * 2;
    case Q8:
    case Q8_INT8: return size_t(k) / GROUP * Q8_BYTES;
    default: return size_t(k) / GROUP * Q4_BYTES;
  }
}

inline int num_panels(const Linear& w) { return (w.n + PANEL - 1) / PANEL; }

inline const uint8_t* panel_of(const Linear& w, int panel) {
  return w.data + panel_bytes(w.format, w.k) * panel;
}

inline void fetch_lines(const uint8_t* at, size_t num_bytes) {
  UNROLL for (size_t i = 0; i < num_bytes; i += 64) fetch_near(at + i);
}

// Where a tile with groups gets its weights: 16 pairs a group, two vectors a pair, and scales.
struct Scratch {  // expanded before: words [k / 2][32]
  static constexpr bool is_expanded = true;
  const Word* words;
  const uint8_t* panel;
  size_t group_bytes;
  bool has_min;
  inline void pair(int g, int p, Pairs& b0, Pairs& b1) const {
    const Word* at = words + (size_t(g) * 16 + p) * PANEL;
    b0 = load_operand<true>(at);
    b1 = load_operand<true>(at + 16);
  }
  inline const uint8_t* scales(int g) const { return panel + g * group_bytes; }
  inline void fetch(int) const {}
};

struct DirectQ4 {
  static constexpr bool is_expanded = false;
  const uint8_t* panel;
  static constexpr bool has_min = true;
  NibblePairs nibbles = {};
  inline void pair(int g, int p, Pairs& b0, Pairs& b1) const {
    const uint8_t* at = panel + g * Q4_BYTES + 128 + (p / 4) * 128;
    b0 = nibbles(load_ints(at), 4 * (p % 4));
    b1 = nibbles(load_ints(at + 64), 4 * (p % 4));
  }
  inline const uint8_t* scales(int g) const { return panel + g * Q4_BYTES; }
  inline void fetch(int g) const { fetch_lines(panel + g * Q4_BYTES, Q4_BYTES); }
};

struct DirectQ8 {
  static constexpr bool is_expanded = false;
  const uint8_t* panel;
  static constexpr bool has_min = false;
  inline void pair(int g, int p, Pairs& b0, Pairs& b1) const {
    const uint8_t* at = panel + g * Q8_BYTES + 64 + p * 64;
    b0 = byte_pairs(at);
    b1 = byte_pairs(at + 32);
  }
  inline const uint8_t* scales(int g) const { return panel + g * Q8_BYTES; }
  inline void fetch(int g) const { fetch_lines(panel + g * Q8_BYTES, Q8_BYTES); }
};

template <class Source>
void expand(const Source& from, int num_groups, Word* words) {
  for (int g = 0; g < num_groups; g++)
    UNROLL for (int p = 0; p < 16; p++) {
      Pairs b0, b1;
      from.pair(g, p, b0, b1);
      store_ints(words, to_words(b0));
      store_ints(words + 16, to_words(b1));
      words += PANEL;
    }
}

// A group of an int8 panel: scales, minima (4 bits only), and for each half of 16 outputs its quads of
// 4 inputs. 4 bits: quad p in the low nibbles of bytes that hold quad p + 4 in the high ones.
struct QuadGroup {
  const uint8_t* at;
  bool is_byte;

  QuadGroup(const uint8_t* panel, int g, bool is_byte)
      : at(panel + g * (is_byte ? Q8_BYTES : Q4_BYTES)), is_byte(is_byte) {}

  // Where input k's byte for an output begins.
  size_t place(int output, int k) const {
    const size_t lane = output % 16 * 4 + k % 4, half = output / 16;
    return is_byte ? 64 + half * 512 + k / 4 * 64 + lane : 128 + half * 256 + k % 16 / 4 * 64 + lane;
  }

  float weight(int output, int k) const {
    const uint16_t* scales = reinterpret_cast<const uint16_t*>(at);
    const float d = half_to_float(scales[output]);
    const uint8_t byte = at[place(output, k)];
    if (is_byte) return d * (int(byte) - 128);
    return d * (k < 16 ? byte & 15 : byte >> 4) + half_to_float(scales[PANEL + output]);
  }
};

// One output feature's weights, as float32 [k].
inline void column(const Linear& w, int n, float* out) {
  const uint8_t* panel = panel_of(w, n / PANEL);
  const int at = n % PANEL;
  if (w.format == F32) {
    const float* p = reinterpret_cast<const float*>(panel) + at;
    for (int k = 0; k < w.k; k++) out[k] = p[size_t(k) * PANEL];
  } else if (w.format == BF16) {
    const uint16_t* p = reinterpret_cast<const uint16_t*>(panel) + at * 2;
    for (int k = 0; k < w.k; k++) out[k] = from_bf16(p[size_t(k / 2) * PANEL * 2 + k % 2]);
  } else if (w.format == Q8) {
    for (int g = 0; g < w.k / GROUP; g++) {
      const uint8_t* p = panel + g * Q8_BYTES;
      float d = half_to_float(reinterpret_cast<const uint16_t*>(p)[at]);
      const int8_t* q = reinterpret_cast<const int8_t*>(p + 64) + at * 2;
      for (int k = 0; k < GROUP; k++) out[g * GROUP + k] = d * q[(k / 2) * 64 + k % 2];
    }
  } else if (is_int8(w.format)) {
    for (int g = 0; g < w.k / GROUP; g++) {
      const QuadGroup group{panel, g, w.format == Q8_INT8};
      for (int k = 0; k < GROUP; k++) out[g * GROUP + k] = group.weight(at, k);
    }
  } else {
    for (int g = 0; g < w.k / GROUP; g++) {
      const uint8_t* p = panel + g * Q4_BYTES;
      float d = half_to_float(reinterpret_cast<const uint16_t*>(p)[at]);
      float m = half_to_float(reinterpret_cast<const uint16_t*>(p + 64)[at]);
      const uint32_t* q = reinterpret_cast<const uint32_t*>(p + 128);
      for (int k = 0; k < GROUP; k++) {
        uint32_t x = q[(k / 8) * PANEL + at];
        out[g * GROUP + k] = d * float((x >> (4 * (k % 8 / 2) + 16 * (k % 2))) & 15) + m;
      }
    }
  }
}

}  // namespace teola
