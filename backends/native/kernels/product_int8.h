// Products in 8-bit whole numbers: inputs quantised per row and group of 32, weights as the file has
// them in 4 or 8 bits. A group's sum is exact; groups are added from first to last with two fma each,
// in every tile and on every set.
//
// The groups that a norm's outlier channels coarsen most are fine: what rounding left of them is
// quantised once more, by a step of 1/254 of the first, and multiplied too.
//
// Weights lie as `QuadGroup` (packed.h) says.
#pragma once

#include <bit>

#include "int8.h"
#include "packed.h"
#include "threads.h"

namespace teola {

constexpr int QUADS = 8;         // of a group
constexpr int WIDEST_INT8 = 8;   // rows of a tile
constexpr int SPREAD_ROWS = 64;  // above, 4-bit weights are spread once for all rows
constexpr size_t SCALED_GROUP_BYTES = 2 * (QUADS * 64 + 128);  // expanded: quads, scales, minima

struct Int8Row {
  int8_t* inputs;    // [k]
  float* scales;     // [k / 32]
  float* sums;       // [k / 32], of the inputs as quantised
  int32_t* offsets;  // [k / 32], -128 times the sum of `inputs`
  // Of a row behind a norm:
  int8_t* rests;         // [k], zeros where a group is not fine
  int32_t* rest_offsets;
  uint64_t* fine;        // a bit a group
};

constexpr float REST_STEP = 1.0f / 254;  // of a scale: the rest is within half a step
constexpr float FINE_SHARE = 3.0f;       // a group is fine whose squared scale is so many means

inline int num_masks(int k) { return (k / GROUP + 63) / 64; }

inline size_t int8_row_words(int k) {
  return (size_t(k) * 2 + size_t(k) / GROUP * 16 + num_masks(k) * 8 + 63) / 64 * 16;
}

struct Int8Rows {  // of k inputs each
  Word* first;
  int k;
  inline Int8Row operator[](int row) const {
    int8_t* at = reinterpret_cast<int8_t*>(first + int8_row_words(k) * row);
    float* scales = reinterpret_cast<float*>(at + 2 * k);
    const int groups = k / GROUP;
    int32_t* offsets = reinterpret_cast<int32_t*>(scales + 2 * groups);
    uint64_t* fine = reinterpret_cast<uint64_t*>(offsets + 2 * groups);
    return {at, scales, scales + groups, offsets, at + k, offsets + groups, fine};
  }
};

// A NaN reaches the scale where all inputs are NaN, as behind a norm.
inline void quantise_group(const Int8Row& row, int g, F16 x0, F16 x1) {
  const float peak = reduce_max(max(abs(x0), abs(x1)));
  const F16 inverse = set1(peak == 0.0f ? 0.0f : 127.0f / peak);
  const I16 q0 = to_ints(x0 * inverse), q1 = to_ints(x1 * inverse);
  store_bytes(row.inputs + g * GROUP, q0);
  store_bytes(row.inputs + g * GROUP + 16, q1);
  const int32_t sum = reduce_add(q0 + q1);
  row.scales[g] = peak / 127.0f;
  row.sums[g] = row.scales[g] * float(sum);
  row.offsets[g] = -128 * sum;
}

// What rounding left of a quantised group.
inline void refine_group(const Int8Row& row, int g, F16 x0, F16 x1) {
  const float scale = row.scales[g];
  if (!(scale > 1e-30f)) return;
  const F16 step = set1(1.0f / (scale * REST_STEP));
  auto rest = [&](F16 x, int at) {
    const F16 rounded = to_floats(load_bytes(row.inputs + g * GROUP + at)) * set1(scale);
    const I16 q = to_ints((x - rounded) * step);
    store_bytes(row.rests + g * GROUP + at, q);
    return q;
  };
  const int32_t sum = reduce_add(rest(x0, 0) + rest(x1, 16));
  row.sums[g] = row.sums[g] + scale * REST_STEP * float(sum);
  row.rest_offsets[g] = -128 * sum;
  row.fine[g / 64] |= uint64_t(1) << (g % 64);
}

// Inputs i..i + 16 of a quantised row.
inline F16 dequantised(const Int8Row& row, int i, bool is_fine) {
  F16 q = to_floats(load_bytes(row.inputs + i));
  if (is_fine) q = fma(to_floats(load_bytes(row.rests + i)), set1(REST_STEP), q);
  return q * set1(row.scales[i / GROUP]);
}

// value(i): inputs i..i + 16.
template <class Fn>
void quantise_row(const Int8Row& row, int k, const Fn& value) {
  const int groups = k / GROUP;
  std::memset(row.rests, 0, size_t(k));
  std::memset(row.rest_offsets, 0, size_t(groups) * 4);
  std::memset(row.fine, 0, size_t(num_masks(k)) * 8);
  float total = 0.0f;
  for (int g = 0; g < groups; g++) {
    quantise_group(row, g, value(g * GROUP), value(g * GROUP + 16));
    total += row.scales[g] * row.scales[g];
  }
  const float most = total * FINE_SHARE / float(groups);
  for (int g = 0; g < groups; g++)
    if (row.scales[g] * row.scales[g] > most)
      refine_group(row, g, value(g * GROUP), value(g * GROUP + 16));
}

inline int32_t four_inputs(const int8_t* p) {
  int32_t x;
  std::memcpy(&x, p, 4);
  return x;
}

// Where a tile gets one group's quads, scales and minima for 16 outputs (a half of the panel).
struct Int8Q4 {
  static constexpr bool has_min = true;
  static constexpr size_t group_bytes = Q4_BYTES;
  using Dots = NibbleDots;
  const uint8_t* panel;
  static inline Dots start(int32_t) { return Dots::start(); }
  template <int V, class Fn>
  inline void each_quad(int g, int half, const Fn& fn) const {
    const uint8_t* at = panel + g * group_bytes + 128 + half * 256;
    UNROLL for (int p = 0; p < QUADS / 2; p++) {
      Quad low[V], high[V];
      UNROLL for (int v = 0; v < V; v++) {
        const Quad both = load_quad(at + v * 256 + p * 64);
        low[v] = low_nibbles(both), high[v] = high_nibbles(both);
      }
      fn(p, low);
      fn(p + 4, high);
    }
  }
  inline F16 scales(int g, int half) const {
    return load_halfs(panel + g * group_bytes + half * 32);
  }
  inline F16 minima(int g, int half) const {
    return load_halfs(panel + g * group_bytes + 64 + half * 32);
  }
  inline void fetch(int g) const { fetch_lines(panel + g * group_bytes, group_bytes); }
};

struct Int8Q8 {
  static constexpr bool has_min = false;
  static constexpr size_t group_bytes = Q8_BYTES;
  using Dots = ByteDots;
  const uint8_t* panel;
  static inline Dots start(int32_t offset) { return Dots::start(offset); }
  template <int V, class Fn>
  inline void each_quad(int g, int half, const Fn& fn) const {
    const uint8_t* at = panel + g * group_bytes + 64 + half * 512;
    UNROLL for (int p = 0; p < QUADS; p++) {
      Quad w[V];
      UNROLL for (int v = 0; v < V; v++) w[v] = ByteDots::ready(load_quad(at + v * 512 + p * 64));
      fn(p, w);
    }
  }
  inline F16 scales(int g, int half) const {
    return load_halfs(panel + g * group_bytes + half * 32);
  }
  inline F16 minima(int, int) const { return zeros(); }
  inline void fetch(int g) const { fetch_lines(panel + g * group_bytes, group_bytes); }
};

// 4-bit weights spread to bytes and floats, once for many rows.
struct Int8Spread {
  static constexpr bool has_min = true;
  using Dots = NibbleDots;
  const uint8_t* groups;
  inline const uint8_t* at(int g, int half) const {
    return groups + (g * 2 + half) * (SCALED_GROUP_BYTES / 2);
  }
  static inline Dots start(int32_t) { return Dots::start(); }
  template <int V, class Fn>
  inline void each_quad(int g, int half, const Fn& fn) const {
    UNROLL for (int p = 0; p < QUADS; p++) {
      Quad w[V];
      UNROLL for (int v = 0; v < V; v++) w[v] = load_quad(at(g, half + v) + p * 64);
      fn(p, w);
    }
  }
  inline F16 scales(int g, int half) const {
    return load(reinterpret_cast<const float*>(at(g, half) + QUADS * 64));
  }
  inline F16 minima(int g, int half) const {
    return load(reinterpret_cast<const float*>(at(g, half) + QUADS * 64 + 64));
  }
  inline void fetch(int) const {}
};

inline void spread(const Int8Q4& from, int num_groups, uint8_t* to) {
  for (int g = 0; g < num_groups; g++)
    for (int half = 0; half < 2; half++, to += SCALED_GROUP_BYTES / 2) {
      from.each_quad<1>(g, half, [&](int p, const Quad* w) { store_ints(to + p * 64, *w); });
      store(reinterpret_cast<float*>(to + QUADS * 64), from.scales(g, half));
      store(reinterpret_cast<float*>(to + QUADS * 64 + 64), from.minima(g, half));
    }
}

// Group g of R rows with V times 16 outputs, as whole numbers.
template <int R, int V, class Source>
inline void dots_int8(const int8_t* const* inputs, const int32_t* const* offsets, const Source& from,
                      int g, int half, typename Source::Dots (*s)[R]) {
  UNROLL for (int v = 0; v < V; v++) {
    UNROLL for (int r = 0; r < R; r++) s[v][r] = Source::start(offsets[r][g]);
  }
  from.template each_quad<V>(g, half, [&](int p, const Quad* w) {
    UNROLL for (int r = 0; r < R; r++) {
      const int32_t x = four_inputs(inputs[r] + g * GROUP + p * 4);
      UNROLL for (int v = 0; v < V; v++) {
        s[v][r].add(w[v], x);
        if constexpr (R > 2) s[v][r].keep();
      }
    }
  });
}

// out [R][32] of one half of the panel, or both (V = 2). Totals of few rows stay in registers.
template <int R, int V, class Source>
void tile_int8(const Int8Rows& a, int row0, const Source& from, int half, int num_groups,
               float* out) {
  constexpr bool in_registers = R * V * 2 + V + 2 <= REGISTERS;
  const int8_t* inputs[R];
  const int32_t* offsets[R];
  const float *scales[R], *sums[R];
  F16 c[in_registers ? R : 1][V];
  UNROLL for (int r = 0; r < R; r++) {
    const Int8Row row = a[row0 + r];
    inputs[r] = row.inputs, offsets[r] = row.offsets, scales[r] = row.scales, sums[r] = row.sums;
    UNROLL for (int v = 0; v < V; v++) {
      if constexpr (in_registers) c[r][v] = zeros();
      else store(out + r * PANEL + (half + v) * 16, zeros());
    }
  }
  for (int g = 0; g < num_groups; g++) {
    if constexpr (R <= 2) from.fetch(g + 8);
    typename Source::Dots s[V][R];
    dots_int8<R, V>(inputs, offsets, from, g, half, s);
    UNROLL for (int v = 0; v < V; v++) {
      const F16 d = from.scales(g, half + v), m = from.minima(g, half + v);
      UNROLL for (int r = 0; r < R; r++) {
        float* at = out + r * PANEL + (half + v) * 16;
        F16 total;
        if constexpr (in_registers) total = c[r][v];
        else total = load(at);
        total = fma(d * set1(scales[r][g]), to_floats(s[v][r].total()), total);
        if constexpr (Source::has_min) total = fma(m, set1(sums[r][g]), total);
        if constexpr (in_registers) c[r][v] = total;
        else store(at, total);
      }
    }
  }
  if constexpr (in_registers)
    UNROLL for (int r = 0; r < R; r++)
      UNROLL for (int v = 0; v < V; v++) store(out + r * PANEL + (half + v) * 16, c[r][v]);
}

// The rests of a group that is fine in some of R rows, added to `out`; those of the other rows are zero
// and change no bit.
template <int R, int V, class Source>
void add_rest(const Int8Rows& a, int row0, const Source& from, int g, float* out) {
  const int8_t* inputs[R];
  const int32_t* offsets[R];
  const float* scales[R];
  UNROLL for (int r = 0; r < R; r++) {
    const Int8Row row = a[row0 + r];
    inputs[r] = row.rests, offsets[r] = row.rest_offsets, scales[r] = row.scales;
  }
  for (int half = 0; half < 2; half += V) {
    typename Source::Dots s[V][R];
    dots_int8<R, V>(inputs, offsets, from, g, half, s);
    UNROLL for (int v = 0; v < V; v++) {
      const F16 d = from.scales(g, half + v) * set1(REST_STEP);
      UNROLL for (int r = 0; r < R; r++) {
        float* at = out + r * PANEL + (half + v) * 16;
        store(at, fma(d * set1(scales[r][g]), to_floats(s[v][r].total()), load(at)));
      }
    }
  }
}

template <int R, int V, class Source>
void add_rests(const Int8Rows& a, int row0, const Source& from, float* out) {
  for (int i = 0; i < num_masks(a.k); i++) {
    uint64_t fine = 0;
    UNROLL for (int r = 0; r < R; r++) fine |= a[row0 + r].fine[i];
    for (; fine; fine &= fine - 1) add_rest<R, V>(a, row0, from, i * 64 + std::countr_zero(fine), out);
  }
}

// All 32 outputs of R rows; sets of few registers take one half of the panel after the other.
template <int R, class Source>
int tile_int8(const Int8Rows& a, int row, bool is_fine, const Source& from, float* out) {
  constexpr int V = REGISTERS >= 32 ? 2 : 1;
  for (int half = 0; half < 2; half += V)
    tile_int8<R, V>(a, row, from, half, a.k / GROUP, out);
  if (is_fine) add_rests<R, V>(a, row, from, out);
  return R;
}

// The rows of the next tile when `left` are to do; returns how many it took. Six rows fill the
// registers, 16 or 32; eight at once spare a batch of eight a second look at the weights.
template <class Source>
int tile_int8(const Int8Rows& a, int row, int left, bool is_fine, const Source& from, float* out) {
  if constexpr (REGISTERS >= 32) {
    if (left >= 12) return tile_int8<6>(a, row, is_fine, from, out);
    if (left >= 8) return tile_int8<8>(a, row, is_fine, from, out);
  }
  if (left >= 6 && left != 8) return tile_int8<6>(a, row, is_fine, from, out);
  if (left >= 4) return tile_int8<4>(a, row, is_fine, from, out);
  if (left >= 2) return tile_int8<2>(a, row, is_fine, from, out);
  return tile_int8<1>(a, row, is_fine, from, out);
}

}  // namespace teola
