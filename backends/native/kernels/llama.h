// One step of a Llama-family model: a ragged batch over paged KV.
//
// Every row of a step is computed by the same operations in the same order, however many rows stand
// beside it, however its prompt was cut into chunks and whatever part of it came from a cache:
// products reduce over k from first to last, attention walks the keys in blocks of 64 counted from
// the first token. So batched, chunked, cached and forked runs give the same bits as a lone one.
//
// Activations stay float32 between products. In bf16 mode the inputs of products, the keys and the
// values are rounded to bfloat16.
//
// Shapes: as in `step.h`.
#pragma once

#include <cmath>

#include "paged_attention.h"
#include "product.h"
#include "step.h"

namespace teola {

enum Projection { QKV, OUT, GATE_UP, DOWN };

template <bool BF>
class Model {
 public:
  static constexpr int PER_WORD = BF ? 2 : 1;

  Model(const TeolaConfig& c, const TeolaLayer* layers, const float* norm, const Linear& head,
        const Linear& embedding, Pool& pool)
      : c_(c), layers_(layers, layers + c.num_layers), norm_(norm), head_(head),
        embedding_(embedding), pool_(pool), scratch_(pool.size()), attention_(c, pool) {}

  void forward(const TeolaStep& s) {
    const int T = s.num_rows, E = c_.hidden, D = c_.head_dim;
    const int heads = c_.num_heads + 2 * c_.num_kv_heads;
    x_ = xs_.get<float>(size_t(T) * E);
    const int widest = std::max({E, c_.num_heads * D, c_.width});
    a_ = as_.get<Word>(size_t(T) * widest);
    qkv_ = qkvs_.get<float>(size_t(T) * heads * D);
    h_ = hs_.get<Word>(size_t(T) * widest);
    sums_ = sumss_.get<float>(size_t(T) * widest / GROUP + 16);
    embed(s);
    for (int l = 0; l < std::min(s.stop_layer, c_.num_layers); l++) layer(s, l);
    if (s.stop_layer < c_.num_layers)
      keys_and_values(s, s.stop_layer);
    else if (s.num_logits)
      logits(s);  // x holds the wanted rows alone by now
  }

 private:
  // fn(row) for all rows, in a few chunks.
  template <class Fn>
  void rows(int num_rows, int least, const Fn& fn) {
    pool_.ranges(num_rows, least, [&](int begin, int end) {
      for (int row = begin; row < end; row++) fn(row);
    });
  }

  void product(const Word* a, int m, const Linear& w, Ending ending, float* out, Word* words,
               const float* delta = nullptr, const int32_t* out_rows = nullptr) {
    if (!m) return;
    if (w.format == Q4) {
      const int groups = w.k / GROUP;
      pool_.ranges(m, 32, [&](int begin, int end) {
        sum_groups(a + size_t(begin) * w.k / 2, end - begin, w.k, sums_ + size_t(begin) * groups);
      });
    }
    Product p{a, m, sums_, ending, out, words, delta, a == a_,
              out_rows ? &likeliest_ : nullptr, out_rows};
    multiply<BF>(pool_, scratch_, p, w);
  }

  const Linear& projection(int l, Projection which) const {
    const TeolaLayer& w = layers_[l];
    return which == QKV ? w.qkv : which == OUT ? w.out : which == GATE_UP ? w.gate_up : w.down;
  }

  // The inputs of `to` from row `first` on as an adapter reads them: words [m][k].
  const Word* plain_words(const Linear& to, const Word* a, int first, int m) {
    const Word* from = a + row_words<BF>(to) * first;
    if (!is_int8(to.format)) return from;
    Word* out = plains_.get<Word>(size_t(m) * to.k / PER_WORD);
    for (int row = 0; row < m; row++) {
      const Int8Row x = Int8Rows{const_cast<Word*>(from), to.k}[row];
      for (int i = 0; i < to.k; i += 16)
        store_words<BF>(out + (size_t(row) * to.k + i) / PER_WORD, dequantised(x, i, a == a_));
    }
    return out;
  }

  // [T][n] of what the rows' adapters add to a projection of inputs a; null when none does.
  const float* deltas(const TeolaStep& s, int l, Projection which, const Word* a, int n) {
    float* out = nullptr;
    for (int i = 0; i < s.num_spans;) {
      const TeolaSpan& first = s.spans[i];
      int end = first.end;
      for (i++; i < s.num_spans && s.spans[i].adapter == first.adapter; i++) end = s.spans[i].end;
      if (first.adapter < 0) continue;
      const TeolaDelta& d = s.adapters[first.adapter][l * 4 + which];
      if (!d.a.n) continue;
      if (!out) {
        out = deltas_.get<float>(size_t(s.num_rows) * n);
        std::memset(out, 0, size_t(s.num_rows) * n * 4);
      }
      const int m = end - first.start, r = d.a.n;
      float* thin = thins_.get<float>(size_t(m) * r);
      Word* words = thin_words_.get<Word>(size_t(m) * r + 16);
      const Word* inputs = plain_words(projection(l, which), a, first.start, m);
      multiply<BF>(pool_, scratch_, Product{inputs, m, nullptr, STORE, thin, nullptr, nullptr}, d.a);
      for (size_t at = 0; at < size_t(m) * r; at += 16)
        store_words<BF>(words + at / PER_WORD,
                        load_first(thin + at, int(std::min<size_t>(16, size_t(m) * r - at))));
      multiply<BF>(pool_, scratch_, Product{words, m, nullptr, STORE, out + size_t(first.start) * n,
                                            nullptr, nullptr}, d.b);
    }
    return out;
  }

  void embed(const TeolaStep& s) {
    rows(s.num_rows, 8, [&](int t) {
      column(embedding_, int(s.tokens[t]), x_ + size_t(t) * c_.hidden);
    });
  }

  // `to`: what reads the row.
  void norm_row(const float* x, const float* weight, const Linear& to, Word* out) const {
    const int E = c_.hidden;
    F16 sum = zeros();
    for (int i = 0; i < E; i += 16) {
      const F16 v = load_first(x + i, E - i);
      sum = fma(v, v, sum);
    }
    const F16 scale = set1(1.0f / std::sqrt(reduce_add(sum) / E + c_.eps));
    auto normed = [&](int i) {
      return load_first(x + i, E - i) * scale * load_first(weight + i, E - i);
    };
    if (is_int8(to.format))
      quantise_row(Int8Rows{out, E}[0], E, normed);
    else
      for (int i = 0; i < E; i += 16) store_words<BF>(out + i / PER_WORD, normed(i), E - i);
  }

  void norm(const float* weight, const Linear& to, int num_rows) {
    rows(num_rows, 16, [&](int t) {
      norm_row(x_ + size_t(t) * c_.hidden, weight, to, a_ + row_words<BF>(to) * t);
    });
  }

  void qkv(const TeolaStep& s, int l) {
    const TeolaLayer& w = layers_[l];
    norm(w.attention_norm, w.qkv, s.num_rows);
    product(a_, s.num_rows, w.qkv, STORE, qkv_, nullptr, deltas(s, l, QKV, a_, w.qkv.n));
  }

  void keys_and_values(const TeolaStep& s, int l) {
    qkv(s, l);
    attention_.place_all({s, l, qkv_, layers_[l].out, h_});
  }

  void layer(const TeolaStep& s, int l) {
    const TeolaLayer& w = layers_[l];
    const bool is_last = l + 1 == c_.num_layers;
    int T = s.num_rows;
    qkv(s, l);
    const bool only_wanted = is_last && !has_adapters(s);  // no other rows go on
    if (l == 0) attention_.take_all(s);
    if (only_wanted) attention_.take_wanted(s);
    attention_.run({s, l, qkv_, w.out, h_});
    if (only_wanted) T = keep_wanted(s);
    product(h_, T, w.out, ADD, x_, nullptr, deltas(s, l, OUT, h_, w.out.n));
    norm(w.mlp_norm, w.gate_up, T);
    const Ending silu = is_int8(w.down.format) ? SILU_INT8 : SILU;
    product(a_, T, w.gate_up, silu, nullptr, h_, deltas(s, l, GATE_UP, a_, w.gate_up.n));
    product(h_, T, w.down, ADD, x_, nullptr, deltas(s, l, DOWN, h_, w.down.n));
    if (is_last && has_adapters(s)) keep_wanted(s);
  }

  static bool has_adapters(const TeolaStep& s) {
    return std::any_of(s.spans, s.spans + s.num_spans, [](auto& span) { return span.adapter >= 0; });
  }

  // Move the wanted rows of x and h to the front; they come in ascending order.
  int keep_wanted(const TeolaStep& s) {
    const size_t E = c_.hidden, words = row_words<BF>(layers_.back().out);
    for (int i = 0; i < s.num_logits; i++) {
      const size_t row = size_t(s.logit_rows[i]);
      std::memmove(x_ + i * E, x_ + row * E, E * 4);
      std::memmove(h_ + i * words, h_ + row * words, words * 4);
    }
    return s.num_logits;
  }

  void logits(const TeolaStep& s) {
    const int E = c_.hidden;
    rows(s.num_logits, 16, [&](int i) {
      norm_row(x_ + size_t(i) * E, norm_, head_, a_ + row_words<BF>(head_) * i);
    });
    product(a_, s.num_logits, head_, LIKELIEST, s.logits, nullptr, nullptr,
            s.logit_places);
    for (int i = 0; i < s.num_logits; i++) s.likeliest[i] = likeliest_.column(i);
  }

  TeolaConfig c_;
  std::vector<TeolaLayer> layers_;
  const float* norm_;
  Linear head_, embedding_;
  Pool& pool_;
  std::vector<Buffer> scratch_;
  PagedAttention<BF> attention_;
  Buffer xs_, as_, qkvs_, hs_, sumss_, deltas_, thins_, thin_words_, plains_;
  Likeliest likeliest_;
  float *x_ = nullptr, *qkv_ = nullptr, *sums_ = nullptr;
  Word *a_ = nullptr, *h_ = nullptr;
};

}  // namespace teola
