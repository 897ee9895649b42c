// What a BERT's layers compute row by row: all but attention.
//
// Shapes: n rows of a pass, E hidden size, F MLP width.
#pragma once

#include <cmath>

#include "shorts.h"

namespace teola {

extern "C" struct TeolaNorm {
  const float *weight, *bias;  // [E]
};

extern "C" struct TeolaBertLayer {
  Linear qkv, out;  // queries come scaled by 1 / sqrt(D)
  TeolaNorm attention_norm;
  Linear up, down;
  TeolaNorm mlp_norm;
};

enum Inputs : int32_t { AS_FLOAT, AS_BF16, AS_SHORT };  // of products with weights

// How steps run: each by all threads, or all of some rows by one.
struct AllThreads {
  Pool& pool;
  std::vector<Buffer>& scratch;

  template <class Fn>
  void rows(int num_rows, const Fn& fn) const {
    const int n = std::max(1, std::min(num_rows / 16, 4 * pool.size()));
    pool.run(n, [&](int i, int) {
      int begin = int(int64_t(num_rows) * i / n), end = int(int64_t(num_rows) * (i + 1) / n);
      for (int row = begin; row < end; row++) fn(row);
    });
  }
  template <bool>
  void product(const ShortProduct& p, const Linear& w) const {
    multiply_shorts(pool, p, w);
  }
  template <bool BF>
  void product(const Product& p, const Linear& w) const {
    multiply<BF>(pool, scratch, p, w);
  }
};

struct OneThread {
  template <class Fn>
  void rows(int num_rows, const Fn& fn) const {
    for (int row = 0; row < num_rows; row++) fn(row);
  }
  template <bool>
  void product(const ShortProduct& p, const Linear& w) const {
    for (int panel = 0; panel < num_panels(w); panel++) panel_shorts(p, w, panel, 0, p.m);
  }
  template <bool BF>
  void product(const Product& p, const Linear& w) const {
    const Piece piece{0, p.m, nullptr, nullptr};
    for (int panel = 0; panel < num_panels(w); panel++) panel_product<BF>(p, w, panel, piece);
  }
};

struct RowPad {  // of one thread
  Buffer inputs, input_scales, inner, inner_scales;
};

// Some rows of a pass. What only products between two attentions need lies in the pad: it stays in
// the cache of the thread that takes these rows.
template <Inputs INPUTS>
class BertRows {
 public:
  static constexpr bool BF = INPUTS == AS_BF16;
  static constexpr int PER_WORD = BF ? 2 : 1;

  // x: [n][E] hidden state; qkv: [n][3 E]; mixed: [n][E] by attention.
  BertRows(RowPad& pad, int hidden, int width, int num_rows, float* x, Word* qkv, Word* mixed)
      : E(hidden), n(num_rows), x_(x), qkv_(qkv), mixed_(mixed) {
    if constexpr (INPUTS == AS_SHORT) {
      inputs_ = shorts(pad.inputs, pad.input_scales, hidden);
      inner_ = shorts(pad.inner, pad.inner_scales, width);
    } else {
      inputs_ = BF ? pad.inputs.get<Word>(size_t(n) * hidden / PER_WORD) : reinterpret_cast<Word*>(x);
      inner_ = pad.inner.get<Word>(size_t(n) * width / PER_WORD);
    }
  }

  int size() const { return n; }
  float* row(int i) const { return x_ + size_t(i) * E; }

  template <class By>
  void queries_keys_values(const Linear& qkv, const By& by) const {
    by.template product<BF>(product(inputs_, WORDS, nullptr, qkv_), qkv);
  }

  template <class By>
  void mlp(const TeolaBertLayer& layer, int activation, float eps, const By& by) const {
    by.template product<BF>(product(mixed_inputs(by), ADD, x_, nullptr), layer.out);
    by.rows(n, [&](int i) { norm(layer.attention_norm, eps, i); });
    by.template product<BF>(product(inputs_, Ending(activation), nullptr, nullptr), layer.up);
    by.template product<BF>(product(inner_, ADD, x_, nullptr), layer.down);
    by.rows(n, [&](int i) { norm(layer.mlp_norm, eps, i); });
  }

  // A row, and as a product's input.
  void norm(const TeolaNorm& w, float eps, int i) const {
    float* x = row(i);
    const F16 mean = set1(reduce_add(sum_of(x)) / E);
    const float variance = reduce_add(squares_of(x, mean)) / E;
    const F16 scale = set1(1.0f / std::sqrt(variance + eps));
    for (int at = 0; at < E; at += 16) {
      const int left = E - at;
      F16 v = (load_first(x + at, left) - mean) * scale;
      v = fma(v, load_first(w.weight + at, left), load_first(w.bias + at, left));
      store_first(x + at, v, left);
      if constexpr (BF) store_words<BF>(inputs_ + (size_t(i) * E + at) / PER_WORD, v, left);
    }
    if constexpr (INPUTS == AS_SHORT) round_row(x, E, inputs_, i);
  }

 private:
  using Rows = std::conditional_t<INPUTS == AS_SHORT, ShortRows, Word*>;
  using ProductOf = std::conditional_t<INPUTS == AS_SHORT, ShortProduct, Product>;

  ShortRows shorts(Buffer& words, Buffer& scales, int k) const {
    const size_t groups = size_t(n) * num_groups(k);
    return {words.get<Word>(groups * (GROUP / 2)), scales.get<float>(groups), n, num_groups(k)};
  }

  template <class By>
  Rows mixed_inputs(const By& by) const {
    if constexpr (INPUTS == AS_SHORT) {
      const float* mixed = reinterpret_cast<const float*>(mixed_);
      by.rows(n, [&](int i) { round_row(mixed + size_t(i) * E, E, inputs_, i); });
      return inputs_;
    } else {
      return mixed_;
    }
  }

  // To `out` or `words`; an activation goes to the MLP's inner values.
  ProductOf product(const Rows& a, Ending ending, float* out, Word* words) const {
    if constexpr (INPUTS != AS_SHORT) return {a, n, nullptr, ending, out, words ? words : inner_, nullptr};
    else if (ending == WORDS) return {a, n, STORE, reinterpret_cast<float*>(words), {}};
    else return {a, n, ending, out, inner_};
  }

  F16 sum_of(const float* x) const {
    F16 sum = zeros();
    for (int at = 0; at < E; at += 16) sum = sum + load_first(x + at, E - at);
    return sum;
  }

  F16 squares_of(const float* x, F16 mean) const {
    F16 squares = zeros();
    for (int at = 0; at < E; at += 16) {
      const F16 v = select(first_lanes(E - at), load_first(x + at, E - at) - mean, zeros());
      squares = fma(v, v, squares);
    }
    return squares;
  }

  int E, n;
  float* x_;
  Word *qkv_, *mixed_;
  Rows inputs_{}, inner_{};
};

}  // namespace teola
