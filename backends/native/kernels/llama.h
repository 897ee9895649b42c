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
// Shapes: T rows of a step, E hidden size, H query heads, K KV heads, D head size, F MLP width.
#pragma once

#include <cmath>

#include "attention.h"
#include "product.h"

namespace teola {

extern "C" struct TeolaConfig {
  int32_t num_layers, hidden, num_heads, num_kv_heads, head_dim, width, vocab;
  int32_t is_bf16;
  float eps;
};

extern "C" struct TeolaLayer {
  const float* attention_norm;  // [E]
  Linear qkv, out;
  const float* mlp_norm;  // [E]
  Linear gate_up;         // columns interleaved: 16 of gate, 16 of up
  Linear down;
};

extern "C" struct TeolaSpan {
  int32_t start, end;  // rows
  int32_t num_keys;    // up to the last row's own
  int32_t page_start;  // into the list of pages
  int32_t adapter;     // into the step's adapters, or -1
};

// What a LoRA adapter adds to a projection: b (a x). a.n == 0 where it adds nothing.
extern "C" struct TeolaDelta {
  Linear a, b;  // [r, K], [N, r]
};

extern "C" struct TeolaStep {
  int32_t num_rows, num_spans, num_logits, page_size;
  const int64_t* tokens;      // [T]
  const int64_t* positions;   // [T]
  const TeolaSpan* spans;
  const int32_t* pages;
  const int64_t* logit_rows;
  const float* cos;  // [positions, D / 2]
  const float* sin;
  uint8_t* kv;       // [L][2][P][page]
  int64_t num_pages;
  float* logits;     // of rows whose logits are wanted too, [.][V]
  const TeolaDelta* const* adapters;  // each [L][4]: qkv, out, gate_up, down
  const int32_t* logit_places;  // [R]: rows of `logits`, or -1
  int64_t* likeliest;           // [R]: written; -1 where the logits are not finite
};

enum Projection { QKV, OUT, GATE_UP, DOWN };

template <bool BF>
class Model {
 public:
  static constexpr int PER_WORD = BF ? 2 : 1;

  Model(const TeolaConfig& c, const TeolaLayer* layers, const float* norm, const Linear& head,
        const Linear& embedding, Pool& pool)
      : c_(c), layers_(layers, layers + c.num_layers), norm_(norm), head_(head),
        embedding_(embedding), pool_(pool), scratch_(pool.size()), pads_(pool.size()) {}

  void forward(const TeolaStep& s) {
    const int T = s.num_rows, E = c_.hidden, D = c_.head_dim;
    const int heads = c_.num_heads + 2 * c_.num_kv_heads;
    x_ = xs_.get<float>(size_t(T) * E);
    const int widest = std::max({E, c_.num_heads * D, c_.width});
    a_ = as_.get<Word>(size_t(T) * widest);
    qkv_ = qkvs_.get<float>(size_t(T) * heads * D);
    q_ = qs_.get<Word>(size_t(T) * c_.num_heads * D);
    h_ = hs_.get<Word>(size_t(T) * widest);
    sums_ = sumss_.get<float>(size_t(T) * widest / GROUP + 16);
    embed(s);
    for (int l = 0; l < c_.num_layers; l++) layer(s, l);
    if (s.num_logits) logits(s);  // x holds the wanted rows alone by now
  }

 private:
  int chunks(int rows, int least) const {
    return std::max(1, std::min(rows / least, 4 * pool_.size()));
  }

  // fn(row) for all rows, in a few chunks.
  template <class Fn>
  void rows(int num_rows, int least, const Fn& fn) {
    int n = chunks(num_rows, least);
    pool_.run(n, [&](int i, int) {
      int begin = int(int64_t(num_rows) * i / n), end = int(int64_t(num_rows) * (i + 1) / n);
      for (int row = begin; row < end; row++) fn(row);
    });
  }

  void product(const Word* a, int m, const Linear& w, Ending ending, float* out, Word* words,
               const float* delta = nullptr, const int32_t* out_rows = nullptr) {
    if (!m) return;
    if (w.format == Q4) {
      int n = chunks(m, 32), groups = w.k / GROUP;
      pool_.run(n, [&](int i, int) {
        int begin = int(int64_t(m) * i / n), end = int(int64_t(m) * (i + 1) / n);
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

  // Of a row that `to` reads.
  static size_t row_words(const Linear& to) {
    return is_int8(to.format) ? int8_row_words(to.k) : size_t(to.k) / PER_WORD;
  }

  // The inputs of `to` from row `first` on as an adapter reads them: words [m][k].
  const Word* plain_words(const Linear& to, const Word* a, int first, int m) {
    const Word* from = a + row_words(to) * first;
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
      norm_row(x_ + size_t(t) * c_.hidden, weight, to, a_ + row_words(to) * t);
    });
  }

  void layer(const TeolaStep& s, int l) {
    const TeolaLayer& w = layers_[l];
    const bool is_last = l + 1 == c_.num_layers;
    int T = s.num_rows;
    norm(w.attention_norm, w.qkv, T);
    product(a_, T, w.qkv, STORE, qkv_, nullptr, deltas(s, l, QKV, a_, w.qkv.n));
    place(s, l);
    if (l == 0) items_of_all(s);
    if (is_last && !has_adapters(s)) {  // only rows whose logits are wanted go on
      items_of_wanted(s);
      attend(s, l);
      T = keep_wanted(s);
    } else {
      attend(s, l);
    }
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
    const size_t E = c_.hidden, words = row_words(layers_.back().out);
    for (int i = 0; i < s.num_logits; i++) {
      const size_t row = size_t(s.logit_rows[i]);
      std::memmove(x_ + i * E, x_ + row * E, E * 4);
      std::memmove(h_ + i * words, h_ + row * words, words * 4);
    }
    return s.num_logits;
  }

  size_t subpage_words() const { return size_t(SUBPAGE) * c_.head_dim / PER_WORD; }

  // The words of one head in 16 slots: keys [D][16], values [16][D] (in pairs where BF).
  Word* subpage(const TeolaStep& s, int l, int is_value, int page, int head, int sub) const {
    const size_t per_head = subpage_words() * (s.page_size / SUBPAGE);
    const size_t per_page = per_head * c_.num_kv_heads;
    Word* base = reinterpret_cast<Word*>(s.kv) + (size_t(l) * 2 + is_value) * s.num_pages * per_page;
    return base + page * per_page + head * per_head + sub * subpage_words();
  }

  // Rotate queries and keys; queries become words, keys and values go to their pages.
  void place(const TeolaStep& s, int l) {
    if (s.num_rows < 64) {
      for (int i = 0; i < s.num_spans; i++)
        for (int t = s.spans[i].start; t < s.spans[i].end; t++) place_row(s, l, s.spans[i], t);
      return;
    }
    int n = chunks(s.num_rows, 16);
    pool_.run(n, [&](int item, int) {
      int begin = int(int64_t(s.num_rows) * item / n);
      int end = int(int64_t(s.num_rows) * (item + 1) / n);
      for (int i = 0; i < s.num_spans; i++) {
        int first = std::max(begin, s.spans[i].start), last = std::min(end, s.spans[i].end);
        for (int t = first; t < last; t++) place_row(s, l, s.spans[i], t);
      }
    });
  }

  void place_row(const TeolaStep& s, int l, const TeolaSpan& span, int t) {
    const int D = c_.head_dim, half = D / 2, H = c_.num_heads, K = c_.num_kv_heads;
    const int position = int(s.positions[t]);
    const float* cos = s.cos + size_t(position) * half;
    const float* sin = s.sin + size_t(position) * half;
    float* row = qkv_ + size_t(t) * (H + 2 * K) * D;
    for (int h = 0; h < H + K; h++) {
      float* x = row + h * D;
      for (int i = 0; i < half; i++) {
        float lo = x[i], hi = x[i + half];
        x[i] = lo * cos[i] - hi * sin[i];
        x[i + half] = hi * cos[i] + lo * sin[i];
      }
    }
    const F16 scale = set1(1.0f / std::sqrt(float(D)));
    Word* q = q_ + size_t(t) * H * D / PER_WORD;
    for (int i = 0; i < H * D; i += 16)
      store_words<BF>(q + i / PER_WORD, loadu(row + i) * scale);
    const int page = s.pages[span.page_start + position / s.page_size];
    const int slot = position % s.page_size, sub = slot / SUBPAGE, at = slot % SUBPAGE;
    for (int h = 0; h < K; h++) {
      const float* key = row + (H + h) * D;
      const float* value = row + (H + K + h) * D;
      Word* ks = subpage(s, l, 0, page, h, sub);
      Word* vs = subpage(s, l, 1, page, h, sub);
      if constexpr (BF) {
        uint16_t* v = reinterpret_cast<uint16_t*>(vs) + size_t(at / 2) * D * 2 + at % 2;
        const bool is_alone = at % 2 == 0 && t + 1 == span.end;  // the other half of its words is stale
        for (int i = 0; i < D; i += 2)
          ks[(i / 2) * SUBPAGE + at] = to_bf16(key[i]) | Word(to_bf16(key[i + 1])) << 16;
        for (int i = 0; i < D; i++) v[i * 2] = to_bf16(value[i]);
        if (is_alone)
          for (int i = 0; i < D; i++) v[i * 2 + 1] = 0;
      } else {
        float* k = reinterpret_cast<float*>(ks);
        for (int i = 0; i < D; i++) k[i * SUBPAGE + at] = key[i];
        std::memcpy(vs + size_t(at) * D, value, size_t(D) * 4);
      }
    }
  }

  // ---------------------------------------------------------------- attention

  struct Item {
    int span, head, begin, end;  // rows of one KV head's queries
  };

  int rows_per_item() const { return std::max(1, 48 * c_.num_kv_heads / c_.num_heads); }

  void items_of_all(const TeolaStep& s) {
    const int rows = rows_per_item();
    items_.clear();
    for (int i = s.num_spans - 1; i >= 0; i--)
      for (int end = s.spans[i].end; end > s.spans[i].start; end -= rows)  // longest first
        add_items(i, std::max(s.spans[i].start, end - rows), end);
  }

  void items_of_wanted(const TeolaStep& s) {
    items_.clear();
    for (int i = 0, span = 0; i < s.num_logits;) {
      const int begin = int(s.logit_rows[i]);
      while (s.spans[span].end <= begin) span++;
      int end = begin + 1;
      for (i++; i < s.num_logits && s.logit_rows[i] == end && end < s.spans[span].end &&
                end - begin < rows_per_item(); i++)
        end++;
      add_items(span, begin, end);
    }
  }

  void add_items(int span, int begin, int end) {
    for (int h = 0; h < c_.num_kv_heads; h++) items_.push_back({span, h, begin, end});
  }

  void attend(const TeolaStep& s, int l) {
    pool_.run(int(items_.size()), [&](int i, int thread) { attend(s, l, items_[i], pads_[thread]); });
  }

  void attend(const TeolaStep& s, int l, const Item& item, Scratchpad& pad) {
    const TeolaSpan& span = s.spans[item.span];
    const int D = c_.head_dim, words = D / PER_WORD, group = c_.num_heads / c_.num_kv_heads;
    const int num = (item.end - item.begin) * group;
    Word* q = pad.queries.get<Word>(size_t(num) * words);
    float* o = pad.outputs.get<float>(size_t(num) * D);
    float* peak = pad.state.get<float>(size_t(num) * 2);
    float* total = peak + num;
    for (int t = item.begin, r = 0; t < item.end; t++)
      for (int g = 0; g < group; g++, r++)
        std::memcpy(q + size_t(r) * words,
                    q_ + (size_t(t) * c_.num_heads + item.head * group + g) * words,
                    size_t(words) * 4);
    std::memset(o, 0, size_t(num) * D * 4);
    std::fill(peak, peak + num, -INFINITY);
    std::fill(total, total + num, 0.0f);
    const int first = span.num_keys - (span.end - item.begin);
    const int num_keys = first + (item.end - item.begin);
    auto block = [&](int key) {
      KeyBlock b{key, {}, {}};
      for (int j = 0; j < KEYS / SUBPAGE; j++) {
        const int at = std::min(key + j * SUBPAGE, (num_keys - 1) / SUBPAGE * SUBPAGE);
        const int page = s.pages[span.page_start + at / s.page_size];
        const int sub = at % s.page_size / SUBPAGE;
        b.keys[j] = subpage(s, l, 0, page, item.head, sub);
        b.values[j] = subpage(s, l, 1, page, item.head, sub);
      }
      return b;
    };
    teola::attend<BF>(Queries{q, o, peak, total, num, group, first, D}, num_keys, block, pad);
    for (int t = item.begin, r = 0; t < item.end; t++)
      for (int g = 0; g < group; g++, r++) {
        const F16 scale = set1(1.0f / total[r]);
        auto value = [&](int i) { return loadu(o + size_t(r) * D + i) * scale; };
        const int head = item.head * group + g;
        const Linear& to = layers_[l].out;
        Word* row = h_ + row_words(to) * t;
        if (is_int8(to.format))  // its groups end with heads
          for (int i = 0; i < D; i += GROUP)
            quantise_group(Int8Rows{row, to.k}[0], (head * D + i) / GROUP, value(i), value(i + 16));
        else
          for (int i = 0; i < D; i += 16)
            store_words<BF>(row + (head * D + i) / PER_WORD, value(i));
      }
  }

  void logits(const TeolaStep& s) {
    const int E = c_.hidden;
    rows(s.num_logits, 16, [&](int i) {
      norm_row(x_ + size_t(i) * E, norm_, head_, a_ + row_words(head_) * i);
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
  std::vector<Scratchpad> pads_;
  std::vector<Item> items_;
  Buffer xs_, as_, qkvs_, qs_, hs_, sumss_, deltas_, thins_, thin_words_, plains_;
  Likeliest likeliest_;
  float *x_ = nullptr, *qkv_ = nullptr, *sums_ = nullptr;
  Word *a_ = nullptr, *q_ = nullptr, *h_ = nullptr;
};

}  // namespace teola
