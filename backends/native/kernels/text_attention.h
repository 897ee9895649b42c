// Attention of a whole text to itself, one head at a time.
//
// Keys and values become panels as weights do, so scores and sums are products of a few rows like all
// others. A row's operations and their order are the same whatever rows share its tile.
//
// Shapes: n rows of the text, D head size; words hold one float, or two bfloat16.
#pragma once

#include <cmath>

#include "packed.h"
#include "threads.h"

namespace teola {

struct TextPad {  // of one thread
  Buffer keys, values, scores, weights;
};

template <bool BF>
struct TextHead {
  static constexpr int PER_WORD = BF ? 2 : 1;
  static constexpr int MOST_ROWS = REGISTERS >= 32 ? 12 : 6;  // of a tile
  static constexpr int RUNS = REGISTERS >= 32 ? 2 : 1;        // of 16 columns, in a tile

  const Word *queries, *keys, *values;  // of the first row; queries come scaled by 1 / sqrt(D)
  size_t row_words;                     // from row to row
  int num_rows, head_dim;
  Word* out;  // of the first row
  size_t out_words;

  int head_words() const { return head_dim / PER_WORD; }
  int key_words() const { return (num_rows + PER_WORD - 1) / PER_WORD; }
  int key_panels() const { return (num_rows + PANEL - 1) / PANEL; }
  int value_panels() const { return (head_dim + PANEL - 1) / PANEL; }

  void attend(TextPad& pad) const {
    const size_t weight_words = size_t(key_panels()) * PANEL / PER_WORD;
    Word* key_panel = pad.keys.get<Word>(size_t(key_panels()) * head_words() * PANEL);
    Word* value_panel = pad.values.get<Word>(size_t(value_panels()) * key_words() * PANEL);
    float* scores = pad.scores.get<float>(size_t(MOST_ROWS) * key_panels() * PANEL);
    Word* weights = pad.weights.get<Word>(MOST_ROWS * weight_words);
    pack_keys(key_panel);
    pack_values(value_panel);
    for (int row = 0; row < num_rows;) {
      const int rows = tile_rows(num_rows - row);
      score(row, rows, key_panel, scores);
      float scale[MOST_ROWS];
      for (int r = 0; r < rows; r++)
        scale[r] = 1.0f / softmax(scores + size_t(r) * key_panels() * PANEL, weights + r * weight_words);
      mix(row, rows, value_panel, weights, weight_words, scale);
      row += rows;
    }
  }

 private:
  static int tile_rows(int left) {
    return left >= MOST_ROWS ? MOST_ROWS : left >= 6 ? 6 : left >= 3 ? 3 : 1;
  }

  // scores [rows][key panels][32]
  void score(int row, int rows, const Word* panel, float* scores) const {
    for (int p = 0; p < key_panels(); p++, panel += size_t(head_words()) * PANEL)
      tile(rows, queries + row * row_words, row_words, panel, head_words(), scores + p * PANEL,
           size_t(key_panels()) * PANEL);
  }

  void mix(int row, int rows, const Word* panel, const Word* weights, size_t weight_words,
           const float* scale) const {
    alignas(64) float sums[MOST_ROWS * PANEL];
    for (int p = 0; p < value_panels(); p++, panel += size_t(key_words()) * PANEL) {
      tile(rows, weights, weight_words, panel, key_words(), sums, PANEL);
      for (int r = 0; r < rows; r++)
        for (int i = 0; i < PANEL && p * PANEL + i < head_dim; i += 16) {
          Word* at = out + (row + r) * out_words + (p * PANEL + i) / PER_WORD;
          const F16 mixed = load(sums + r * PANEL + i) * set1(scale[r]);
          store_words<BF>(at, mixed, head_dim - p * PANEL - i);
        }
    }
  }

  static void tile(int rows, const Word* a, size_t lda, const Word* panel, int num_words, float* out,
                   size_t stride) {
    if (rows == MOST_ROWS) tile<MOST_ROWS>(a, lda, panel, num_words, out, stride);
    else if (rows == 6) tile<6>(a, lda, panel, num_words, out, stride);
    else if (rows == 3) tile<3>(a, lda, panel, num_words, out, stride);
    else tile<1>(a, lda, panel, num_words, out, stride);
  }

  // out [R][32] = a [R][num_words] x panel [num_words][32].
  template <int R>
  static void tile(const Word* a, size_t lda, const Word* panel, int num_words, float* out,
                   size_t stride) {
    for (int run = 0; run < 2; run += RUNS) {
      F16 c[R][RUNS];
      UNROLL for (int r = 0; r < R; r++) UNROLL for (int v = 0; v < RUNS; v++) c[r][v] = zeros();
      for (int k = 0; k < num_words; k++) {
        Operand<BF> b[RUNS];
        UNROLL for (int v = 0; v < RUNS; v++)
          b[v] = load_operand<BF>(panel + size_t(k) * PANEL + 16 * (run + v));
        UNROLL for (int r = 0; r < R; r++)
          UNROLL for (int v = 0; v < RUNS; v++) c[r][v] = mac<BF>(c[r][v], a + r * lda + k, b[v]);
      }
      UNROLL for (int r = 0; r < R; r++)
        UNROLL for (int v = 0; v < RUNS; v++) store(out + r * stride + 16 * (run + v), c[r][v]);
    }
  }

  // Panels of 32 keys: [head words][32].
  void pack_keys(Word* to) const {
    for (int key = 0; key < num_rows; key += PANEL, to += size_t(head_words()) * PANEL) {
      const int num = std::min(PANEL, num_rows - key);
      if (num < PANEL) std::memset(to, 0, size_t(head_words()) * PANEL * sizeof(Word));
      for (int i = 0; i < num; i++) {
        const Word* at = keys + size_t(key + i) * row_words;
        for (int w = 0; w < head_words(); w++) to[w * PANEL + i] = at[w];
      }
    }
  }

  // Panels of 32 dimensions: [key words][32].
  void pack_values(Word* to) const {
    for (int p = 0; p < value_panels(); p++) {
      const Word* from = values + p * PANEL / PER_WORD;
      const int num_dims = head_dim - p * PANEL;
      for (int key = 0; key < num_rows; key += PER_WORD, from += PER_WORD * row_words, to += PANEL)
        for (int i = 0; i < PANEL; i += 16)
          store_ints(to + i, value_words(from + i / PER_WORD, num_dims - i, key + 1 < num_rows));
    }
  }

  // Of one key, or of two side by side.
  I16 value_words(const Word* from, int num_dims, bool has_second) const {
    if constexpr (!BF) return load_ints_first(from, num_dims);
    const I16 first = load_u16_first(from, num_dims);
    return has_second ? first | shift_left(load_u16_first(from + row_words, num_dims), 16) : first;
  }

  // exp(score - the largest) of a row; their sum.
  float softmax(float* scores, Word* weights) const {
    const int whole = num_rows / 16 * 16;
    if (whole < num_rows) {
      const M16 live = first_lanes(num_rows - whole);
      store(scores + whole, select(live, load(scores + whole), set1(-INFINITY)));
    }
    F16 most = load(scores), sum = zeros();
    for (int i = 16; i < num_rows; i += 16) most = max(most, load(scores + i));
    const F16 peak = set1(reduce_max(most));
    for (int i = 0; i < num_rows; i += 16) {
      const F16 e = exp_of_negative16(load(scores + i) - peak);
      sum = sum + e;
      store_words<BF>(weights + i / PER_WORD, e);
    }
    return reduce_add(sum);
  }
};

}  // namespace teola
