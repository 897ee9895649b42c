// Products of rows with packed weights. A row is reduced over k from first to last, whatever rows
// stand beside it.
#pragma once

#include <algorithm>
#include <vector>

#include "gelu.h"
#include "likeliest.h"
#include "product_int8.h"
#include "threads.h"

namespace teola {

constexpr int MAX_ROWS = 12;  // rows of the widest tile

// out [R][32] = a [R][num_words] x panel [num_words][32]. `ahead`: what will be read next.
template <bool BF, int R>
void tile_plain(const Word* a, size_t lda, const Word* panel, int num_words, const char* ahead,
                float* out) {
  F16 c[R][2];
  UNROLL for (int r = 0; r < R; r++) c[r][0] = c[r][1] = zeros();
  for (int k = 0; k < num_words; k++) {
    const Word* at = panel + size_t(k) * PANEL;
    const Operand<BF> b0 = load_operand<BF>(at), b1 = load_operand<BF>(at + 16);
    if constexpr (R <= 2) {
      fetch_near(at + 24 * PANEL);
      fetch_near(at + 24 * PANEL + 16);
    } else {
      fetch_far(ahead + k * 64);
    }
    UNROLL for (int r = 0; r < R; r++) {
      c[r][0] = mac<BF>(c[r][0], a + r * lda + k, b0);
      c[r][1] = mac<BF>(c[r][1], a + r * lda + k, b1);
    }
  }
  UNROLL for (int r = 0; r < R; r++) {
    store(out + r * PANEL, c[r][0]);
    store(out + r * PANEL + 16, c[r][1]);
  }
}

enum Ending : int32_t { STORE, ADD, SILU, WORDS, RELU, GELU, GELU_TANH, SILU_INT8, LIKELIEST };

inline F16 activate(Ending ending, F16 x) {
  switch (ending) {
    case RELU: return max(x, zeros());
    case GELU: return gelu16(x);
    case GELU_TANH: return gelu_tanh16(x);
    default: return x;
  }
}

struct Product {
  const Word* a;  // [m][k words]
  int m;
  const float* sums;  // [m][k / 32], for formats with minima
  Ending ending;
  float* out;         // STORE, ADD: [m][n]
  Word* out_words;    // SILU: [m][n / 2], SILU_INT8: the same quantised; from WORDS on: [m][n]
  const float* delta;  // [m][n] in the panels' column order, added before the ending; or null
  bool is_fine = false;  // int8 rows that come from a norm
  // LIKELIEST: finds the largest column of each row, and stores row i in row out_rows[i] of `out`
  // where that is none below 0.
  Likeliest* likeliest = nullptr;
  const int32_t* out_rows = nullptr;  // [m]
};

// What one thread needs for a piece of a product.
struct Piece {
  int begin, end;   // rows
  char* expanded;   // a panel's weights, expanded for many rows
  float* halves;    // SILU_INT8: [end - begin][16] of an even panel, until the odd one is there
};

// 16 outputs a panel: two panels make a group.
inline void finish_silu_int8(const Product& p, const Linear& w, int panel, int row, float* half, F16 y) {
  const int k = w.n / 2;
  if (panel % 2 == 0) store(half, y);
  else quantise_group(Int8Rows{p.out_words, k}[row], panel / 2, load(half), y);
}

template <bool BF>
void finish(const Product& p, const Linear& w, int panel, const Piece& piece, int row, int rows,
            const float* tile) {
  int n0 = panel * PANEL;
  for (int r = 0; r < rows; r++) {
    F16 c0 = load(tile + r * PANEL), c1 = load(tile + r * PANEL + 16);
    int left = std::min(PANEL, w.n - n0);
    if (w.bias) {
      c0 = c0 + load_first(w.bias + n0, left);
      c1 = c1 + load_first(w.bias + n0 + 16, left - 16);
    }
    if (p.delta) {
      const float* at = p.delta + size_t(row + r) * w.n + n0;
      c0 = c0 + load_first(at, left);
      c1 = c1 + load_first(at + 16, left - 16);
    }
    if (p.ending == SILU_INT8) {
      float* half = piece.halves + size_t(row + r - piece.begin) * 16;
      finish_silu_int8(p, w, panel, row + r, half, silu16(c0) * c1);
      continue;
    }
    if (p.ending == SILU) {
      constexpr int per_word = BF ? 2 : 1;
      Word* at = p.out_words + size_t(row + r) * (w.n / 2 / per_word) + n0 / 2 / per_word;
      store_words<BF>(at, silu16(c0) * c1);
      continue;
    }
    int to = row + r;
    if (p.ending == LIKELIEST) {
      p.likeliest->see(panel, row + r, c0, c1, left);
      if ((to = p.out_rows[row + r]) < 0) continue;
    } else if (p.ending >= WORDS) {
      constexpr int per_word = BF ? 2 : 1;
      Word* at = p.out_words + (size_t(row + r) * w.n + n0) / per_word;
      store_words<BF>(at, activate(p.ending, c0), left);
      store_words<BF>(at + 16 / per_word, activate(p.ending, c1), left - 16);
      continue;
    }
    float* at = p.out + size_t(to) * w.n + n0;
    if (p.ending == ADD) {
      c0 = c0 + load_first(at, left);
      c1 = c1 + load_first(at + 16, left - 16);
    }
    store_first(at, c0, left);
    store_first(at + 16, c1, left - 16);
  }
}

// Rows of the result lie so far apart that the core does not foresee the next one.
inline void fetch_outputs(const Product& p, const Linear& w, int panel, int begin, int end) {
  if (p.ending != STORE && p.ending != ADD) return;
  for (int row = begin; row < end; row++) {
    const float* at = p.out + size_t(row) * w.n + panel * PANEL;
    fetch_near(at);
    fetch_near(at + 16);
  }
}

// The rows of the next tile when `left` are to do.
inline int tile_rows(int left) {
  return left >= 12 ? 12 : left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
}

template <bool BF>
void tile_plain(int rows, const Word* a, size_t lda, const Word* panel, int num_words,
                const char* ahead, float* out) {
  if (rows == 12) tile_plain<BF, 12>(a, lda, panel, num_words, ahead, out);
  else if (rows == 8) tile_plain<BF, 8>(a, lda, panel, num_words, ahead, out);
  else if (rows == 4) tile_plain<BF, 4>(a, lda, panel, num_words, ahead, out);
  else if (rows == 2) tile_plain<BF, 2>(a, lda, panel, num_words, ahead, out);
  else tile_plain<BF, 1>(a, lda, panel, num_words, ahead, out);
}

template <bool BF>
void panel_plain(const Product& p, const Linear& w, int panel, const Piece& piece) {
  alignas(64) float tile[MAX_ROWS * PANEL];
  const int words = w.k / (BF ? 2 : 1);
  const Word* b = reinterpret_cast<const Word*>(panel_of(w, panel));
  for (int row = piece.begin; row < piece.end;) {
    const Word* a = p.a + size_t(row) * words;
    // The first tiles fetch one half each of the next panel, which lies behind this one.
    const char* ahead = reinterpret_cast<const char*>(b + size_t(words) * PANEL);
    if (row != piece.begin) ahead += size_t(words) * 64;
    const int rows = tile_rows(piece.end - row);
    tile_plain<BF>(rows, a, words, b, words, ahead, tile);
    finish<BF>(p, w, panel, piece, row, rows, tile);
    row += rows;
  }
}

// One panel's product with blocks of 4 or 8 bits, in units of their own: these have the most tiles,
// and compilers take them side by side.
void panel_grouped(const Product& p, const Linear& w, int panel, const Piece& piece);
void panel_int8(const Product& p, const Linear& w, int panel, const Piece& piece);

inline size_t expanded_bytes(const Linear& w) {
  switch (w.format) {
    case Q8:
    case Q4: return size_t(w.k) / 2 * PANEL * 4;
    case Q4_INT8: return size_t(w.k) / GROUP * SCALED_GROUP_BYTES;
    default: return 0;
  }
}

template <bool BF>
void panel_product(const Product& p, const Linear& w, int panel, const Piece& piece) {
  if constexpr (BF) {
    if (is_int8(w.format)) return panel_int8(p, w, panel, piece);
    if (w.format == Q4 || w.format == Q8) return panel_grouped(p, w, panel, piece);
  }
  panel_plain<BF>(p, w, panel, piece);
}

template <bool BF>
void multiply(Pool& pool, std::vector<Buffer>& scratch, const Product& p, const Linear& w) {
  const int panels = num_panels(w);
  const int block = w.format >= Q8 ? 264 : 144;  // rows: a panel stays in the second-level cache
  const int row_blocks = (p.m + block - 1) / block;
  const int rows = ((p.m + row_blocks - 1) / row_blocks + 11) / 12 * 12;
  const int wanted = std::max(1, 6 * pool.size() / row_blocks);
  const int even = p.ending == SILU_INT8 ? 2 : 1;  // panels that make a group stay together
  const int per_item = std::max(1, panels / wanted / even) * even;
  const int panel_blocks = (panels + per_item - 1) / per_item;
  if (p.likeliest) p.likeliest->begin(panel_blocks, per_item, p.m);
  pool.run(row_blocks * panel_blocks, [&](int item, int thread) {
    int begin = item / panel_blocks * rows, end = std::min(p.m, begin + rows);
    int first = item % panel_blocks * per_item, last = std::min(panels, first + per_item);
    if (begin >= end) return;
    const size_t expanded = expanded_bytes(w), halves = even == 2 ? size_t(end - begin) * 64 : 0;
    char* memory = scratch[thread].get<char>(expanded + halves);
    const Piece piece{begin, end, memory, reinterpret_cast<float*>(memory + expanded)};
    for (int panel = first; panel < last; panel++) panel_product<BF>(p, w, panel, piece);
  });
}

// Sums of each group of 32 inputs, as rounded to bfloat16.
inline void sum_groups(const Word* a, int m, int k, float* sums) {
  const int groups = k / GROUP;
  for (int i = 0; i < m * groups; i++) {
    const I16 x = loadu_ints(a + size_t(i) * 16);
    sums[i] = reduce_add(low_bf16(x) + high_bf16(x));
  }
}

}  // namespace teola
