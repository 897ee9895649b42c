// Products of whole numbers of 16 bits: half the bytes of float32, and two products an instruction's
// lane. Each group of 32 inputs of a row has a scale of its own, each output feature one.
//
// No sum overflows, in whatever order it is taken: numbers reach 8191 at most, so that a group's sum
// reaches 32 x 8191 x 8191 = 2,146,959,392 < 2^31. It is exact; only rounding to the 16 bits is not.
#pragma once

#include "product.h"

namespace teola {

constexpr float SHORT_TOP = 8191.0f;

inline int num_groups(int k) { return (k + GROUP - 1) / GROUP; }

struct ShortRows {
  Word* words;    // [groups][rows][16], two inputs each; those beyond the last are 0
  float* scales;  // [groups][rows]
  int num_rows, groups;

  const Word* group_words(int row, int g) const {
    return words + (size_t(g) * num_rows + row) * (GROUP / 2);
  }
  int16_t* group(int row, int g) const {
    return reinterpret_cast<int16_t*>(const_cast<Word*>(group_words(row, g)));
  }
  float& scale(int row, int g) const { return scales[size_t(g) * num_rows + row]; }
};

// Numbers below 1e-30 become 0: their inverse may be infinite.
inline float inverse_scale(float most) { return most > 1e-30f ? SHORT_TOP / most : 0.0f; }

inline void round_group(const ShortRows& to, int row, int g, F16 x0, F16 x1) {
  const float most = reduce_max(max(abs(x0), abs(x1)));
  const F16 inverse = set1(inverse_scale(most));
  int16_t* at = to.group(row, g);
  store_shorts(at, to_ints(x0 * inverse));
  store_shorts(at + 16, to_ints(x1 * inverse));
  to.scale(row, g) = most * (1.0f / SHORT_TOP);
}

inline void round_row(const float* x, int k, const ShortRows& to, int row) {
  for (int g = 0, left = k; g < to.groups; g++, x += GROUP, left -= GROUP)
    round_group(to, row, g, load_first(x, left), load_first(x + 16, left - 16));
}

// One output feature: its numbers lie two and two, `PANEL` words apart.
inline void pack_shorts(const float* w, int64_t k, int lane, uint8_t* panel) {
  float most = 0.0f;
  for (int64_t j = 0; j < k; j++) most = std::max(most, std::abs(w[j]));
  const float inverse = inverse_scale(most);
  int16_t* to = reinterpret_cast<int16_t*>(panel) + lane * 2;
  for (int64_t j = 0; j < k; j++)
    to[j / 2 * PANEL * 2 + j % 2] = int16_t(std::lrint(w[j] * inverse));
  reinterpret_cast<float*>(panel + short_words_bytes(k))[lane] = most / SHORT_TOP;
}

// out [R][V runs of 16, `PANEL` a row] = rows of a x V runs of a panel's columns, still without the
// columns' scales. R x V sums and as many totals: as the registers allow.
template <int R, int V>
void tile_shorts(const ShortRows& a, int row, const Word* panel, float* out) {
  F16 totals[R][V];
  UNROLL for (int r = 0; r < R; r++) UNROLL for (int v = 0; v < V; v++) totals[r][v] = zeros();
  for (int g = 0; g < a.groups; g++) {
    I16 sums[R][V];
    UNROLL for (int r = 0; r < R; r++) UNROLL for (int v = 0; v < V; v++) sums[r][v] = zero_ints();
    const Word* rows = a.group_words(row, g);
    for (int p = 0; p < GROUP / 2; p++) {
      const Word* at = panel + (size_t(g) * (GROUP / 2) + p) * PANEL;
      I16 b[V];
      UNROLL for (int v = 0; v < V; v++) b[v] = load_ints(at + 16 * v);
      UNROLL for (int r = 0; r < R; r++) {
        const I16 x = set1_int(rows[r * (GROUP / 2) + p]);
        UNROLL for (int v = 0; v < V; v++) add_dot_shorts(sums[r][v], x, b[v]);
      }
    }
    UNROLL for (int r = 0; r < R; r++) {
      const F16 scale = set1(a.scale(row + r, g));
      UNROLL for (int v = 0; v < V; v++)
        totals[r][v] = fma(to_floats(sums[r][v]), scale, totals[r][v]);
    }
  }
  UNROLL for (int r = 0; r < R; r++)
    UNROLL for (int v = 0; v < V; v++) store(out + r * PANEL + 16 * v, totals[r][v]);
}

constexpr int SHORT_RUNS = REGISTERS >= 32 ? 2 : 1;  // of 16 columns, in a tile
constexpr int STRIP_ROWS = 24;  // whose tiles are finished together: their long chains overlap

template <int R>
void tile_shorts(const ShortRows& a, int row, const Word* panel, float* out) {
  for (int run = 0; run < 2; run += SHORT_RUNS)
    tile_shorts<R, SHORT_RUNS>(a, row, panel + 16 * run, out + 16 * run);
}

inline void strip_shorts(const ShortRows& a, int row, int num_rows, const Word* panel, float* out) {
  for (int left = num_rows; left > 0;) {
    const int rows = left >= 6 ? 6 : left >= 3 ? 3 : 1;
    if (rows == 6) tile_shorts<6>(a, row, panel, out);
    else if (rows == 3) tile_shorts<3>(a, row, panel, out);
    else tile_shorts<1>(a, row, panel, out);
    row += rows, left -= rows, out += rows * PANEL;
  }
}

// out = rows x w + bias: to floats by STORE or ADD, to `out_shorts` by an activation.
struct ShortProduct {
  ShortRows rows;
  int m;
  Ending ending;
  float* out;
  ShortRows out_shorts;
};

// The sums of a strip to its rows of `out`, or to a group of the next product's inputs.
inline void finish_shorts(const ShortProduct& p, const Linear& w, int panel, int row, int num_rows,
                          const float* strip) {
  const float* scales = reinterpret_cast<const float*>(panel_of(w, panel) + short_words_bytes(w.k));
  const int first = panel * PANEL, left = w.n - first;
  const F16 d0 = load(scales), d1 = load(scales + 16);
  const F16 b0 = w.bias ? load_first(w.bias + first, left) : zeros();
  const F16 b1 = w.bias ? load_first(w.bias + first + 16, left - 16) : zeros();
  for (int end = row + num_rows; row < end; row++, strip += PANEL) {
    F16 x0 = fma(load(strip), d0, b0), x1 = fma(load(strip + 16), d1, b1);
    if (p.ending >= RELU) {  // columns beyond the last have scales and biases of 0
      round_group(p.out_shorts, row, panel, activate(p.ending, x0), activate(p.ending, x1));
      continue;
    }
    float* at = p.out + size_t(row) * w.n + first;
    if (p.ending == ADD) x0 = x0 + load_first(at, left), x1 = x1 + load_first(at + 16, left - 16);
    store_first(at, x0, left);
    store_first(at + 16, x1, left - 16);
  }
}

inline void panel_shorts(const ShortProduct& p, const Linear& w, int panel, int begin, int end) {
  alignas(64) float strip[STRIP_ROWS * PANEL];
  const Word* at = reinterpret_cast<const Word*>(panel_of(w, panel));
  for (int row = begin; row < end; row += STRIP_ROWS) {
    const int rows = std::min(STRIP_ROWS, end - row);
    strip_shorts(p.rows, row, rows, at, strip);
    finish_shorts(p, w, panel, row, rows, strip);
  }
}

// Split by panels and, so that a panel stays in the second-level cache, in pieces of 144 rows.
inline void multiply_shorts(Pool& pool, const ShortProduct& p, const Linear& w) {
  const int panels = num_panels(w), row_blocks = (p.m + 143) / 144;
  const int rows = (p.m + row_blocks - 1) / row_blocks;
  const int per_item = std::max(1, panels * row_blocks / (6 * pool.size()));
  const int panel_blocks = (panels + per_item - 1) / per_item;
  pool.run(row_blocks * panel_blocks, [&](int item, int) {
    const int begin = item / panel_blocks * rows, end = std::min(p.m, begin + rows);
    const int first = item % panel_blocks * per_item, last = std::min(panels, first + per_item);
    for (int panel = first; panel < last; panel++) panel_shorts(p, w, panel, begin, end);
  });
}

}  // namespace teola
