// A BERT encoder: texts of any lengths end to end, nothing padded.
//
// Every row is computed by the same operations in the same order whatever texts stand beside its
// own: a text has the same bits alone and in any batch. Activations stay float32 between products;
// only the inputs of products are rounded. AS_BF16: of all, attention's too. AS_SHORT (see shorts.h): of
// those with weights; attention is float32.
//
// Shapes: T rows of a batch, E hidden size, H heads, D head size, F MLP width; n rows of one text.
#pragma once

#include <cmath>

#include "shorts.h"

namespace teola {

extern "C" struct TeolaNorm {
  const float *weight, *bias;  // [E]
};

extern "C" struct TeolaBertConfig {
  int32_t num_layers, hidden, num_heads, width;
  int32_t activation;  // an Ending: RELU, GELU or GELU_TANH
  int32_t inputs;  // an Inputs
  float eps;
  const float *words, *types, *positions;  // [.., E]
  TeolaNorm norm;
};

extern "C" struct TeolaBertLayer {
  Linear qkv, out;  // queries come scaled by 1 / sqrt(D)
  TeolaNorm attention_norm;
  Linear up, down;
  TeolaNorm mlp_norm;
};

extern "C" struct TeolaTexts {
  int32_t num_rows, num_texts;
  const int32_t* starts;  // [texts + 1] rows
  const int32_t *ids, *types;  // [T]
  float* hidden;  // [T][E], the last hidden state
};

struct TextPad {  // of one thread in attention
  Buffer keys, values, scores, weights;
};

enum Inputs : int32_t { AS_FLOAT, AS_BF16, AS_SHORT };  // of products with weights

struct Encoder {
  virtual ~Encoder() = default;
  virtual void encode(const TeolaTexts& s) = 0;
};

template <Inputs INPUTS>
class Bert final : public Encoder {
 public:
  static constexpr bool BF = INPUTS == AS_BF16;
  static constexpr int PER_WORD = BF ? 2 : 1;

  Bert(const TeolaBertConfig& c, const TeolaBertLayer* layers, Pool& pool)
      : c_(c), layers_(layers, layers + c.num_layers), pool_(pool), scratch_(pool.size()),
        pads_(pool.size()) {}

  void encode(const TeolaTexts& s) override {
    const int T = s.num_rows;
    reserve(T, s.hidden);
    embed(s);
    for (const TeolaBertLayer& layer : layers_) {
      product(normed_, T, layer.qkv, WORDS, nullptr, qkv_);
      attend(s);
      if constexpr (INPUTS == AS_SHORT) round_mixed(T);
      product(mixed_, T, layer.out, ADD, x_, nullptr);
      norm(layer.attention_norm, T);
      expand(layer.up, T);
      product(inner_, T, layer.down, ADD, x_, nullptr);
      norm(layer.mlp_norm, T);
    }
  }

 private:
  using Rows = std::conditional_t<INPUTS == AS_SHORT, ShortRows, Word*>;

  void reserve(int T, float* hidden) {
    const int E = c_.hidden, F = c_.width;
    x_ = hidden;
    qkv_ = qkvs_.get<Word>(size_t(T) * 3 * E / PER_WORD);
    h_ = hs_.get<Word>(size_t(T) * (INPUTS == AS_SHORT ? E : std::max(E, F)) / PER_WORD);
    if constexpr (INPUTS == AS_SHORT) {
      normed_ = mixed_ = shorts(normed_words_, normed_scales_, T, E);
      inner_ = shorts(inner_words_, inner_scales_, T, F);
    } else {
      normed_ = BF ? normed_words_.get<Word>(size_t(T) * E / PER_WORD) : reinterpret_cast<Word*>(x_);
      mixed_ = inner_ = h_;
    }
  }

  static ShortRows shorts(Buffer& words, Buffer& scales, int num_rows, int k) {
    const size_t groups = size_t(num_rows) * num_groups(k);
    return {words.get<Word>(groups * (GROUP / 2)), scales.get<float>(groups), num_groups(k)};
  }

  // The MLP's first product and its activation, into `inner_`.
  void expand(const Linear& up, int T) {
    if constexpr (INPUTS == AS_SHORT)
      multiply_shorts(pool_, {normed_, T, Ending(c_.activation), nullptr, inner_}, up);
    else product(normed_, T, up, Ending(c_.activation), nullptr, inner_);
  }

  void round_mixed(int num_rows) {
    const float* mixed = reinterpret_cast<const float*>(h_);
    rows(num_rows, [&](int row) { round_row(mixed + size_t(row) * c_.hidden, c_.hidden, mixed_, row); });
  }

  template <class Fn>
  void rows(int num_rows, const Fn& fn) {
    const int n = std::max(1, std::min(num_rows / 16, 4 * pool_.size()));
    pool_.run(n, [&](int i, int) {
      int begin = int(int64_t(num_rows) * i / n), end = int(int64_t(num_rows) * (i + 1) / n);
      for (int row = begin; row < end; row++) fn(row);
    });
  }

  void product(const Rows& a, int m, const Linear& w, Ending ending, float* out, Word* words) {
    if constexpr (INPUTS == AS_SHORT) {
      if (ending == WORDS) ending = STORE, out = reinterpret_cast<float*>(words);
      multiply_shorts(pool_, {a, m, ending, out, {}}, w);
    } else {
      multiply<BF>(pool_, scratch_, Product{a, m, nullptr, ending, out, words, nullptr}, w);
    }
  }

  // One tile of up to 12 rows and one panel.
  static void product(int rows, const Word* a, size_t lda, const Word* panel, int num_words,
                      float* out) {
    tile_plain<BF>(rows, a, lda, panel, num_words, reinterpret_cast<const char*>(panel), out);
  }

  void embed(const TeolaTexts& s) {
    positions_.resize(s.num_rows);
    for (int i = 0; i < s.num_texts; i++)
      for (int row = s.starts[i]; row < s.starts[i + 1]; row++) positions_[row] = row - s.starts[i];
    const size_t E = c_.hidden;
    rows(s.num_rows, [&](int row) {
      const float* word = c_.words + s.ids[row] * E;
      const float* type = c_.types + s.types[row] * E;
      const float* position = c_.positions + positions_[row] * E;
      float* x = x_ + row * E;
      for (size_t i = 0; i < E; i++) x[i] = word[i] + type[i] + position[i];
      norm_row(c_.norm, row);
    });
  }

  void norm(const TeolaNorm& w, int num_rows) {
    rows(num_rows, [&](int row) { norm_row(w, row); });
  }

  void norm_row(const TeolaNorm& w, int row) {
    const int E = c_.hidden;
    float* x = x_ + size_t(row) * E;
    F16 sum = zeros(), squares = zeros();
    for (int i = 0; i < E; i += 16) sum = sum + load_first(x + i, E - i);
    const F16 mean = set1(reduce_add(sum) / E);
    for (int i = 0; i < E; i += 16) {
      const F16 v = select(first_lanes(E - i), load_first(x + i, E - i) - mean, zeros());
      squares = fma(v, v, squares);
    }
    const float variance = reduce_add(squares) / E;
    const F16 scale = set1(1.0f / std::sqrt(variance + c_.eps));
    for (int i = 0; i < E; i += 16) {
      const int left = E - i;
      F16 v = (load_first(x + i, left) - mean) * scale;
      v = fma(v, load_first(w.weight + i, left), load_first(w.bias + i, left));
      store_first(x + i, v, left);
      if constexpr (BF) store_words<BF>(normed_ + (size_t(row) * E + i) / PER_WORD, v, left);
    }
    if constexpr (INPUTS == AS_SHORT) round_row(x, E, normed_, row);
  }

  // ---------------------------------------------------------------- attention

  struct Item {
    int text, first_head, last_head;
  };

  void attend(const TeolaTexts& s) {
    items_.clear();
    for (int i = 0; i < s.num_texts; i++) {
      const int heads = s.starts[i + 1] - s.starts[i] < 48 ? c_.num_heads : 1;
      for (int h = 0; h < c_.num_heads; h += heads) items_.push_back({i, h, h + heads});
    }
    pool_.run(int(items_.size()), [&](int i, int thread) {
      for (int head = items_[i].first_head; head < items_[i].last_head; head++)
        attend(s, items_[i].text, head, pads_[thread]);
    });
  }

  static int attended_rows(int left) {
    return REGISTERS >= 32 ? tile_rows(left) : left >= 2 ? 2 : 1;
  }

  // Keys and values become panels as weights do: scores and sums are products like all others.
  void attend(const TeolaTexts& s, int text, int head, TextPad& pad) {
    const int E = c_.hidden, D = E / c_.num_heads, head_words = D / PER_WORD;
    const int begin = s.starts[text], n = s.starts[text + 1] - begin;
    const int key_panels = (n + PANEL - 1) / PANEL, value_panels = (D + PANEL - 1) / PANEL;
    const int key_words = (n + PER_WORD - 1) / PER_WORD;
    const size_t row_words = size_t(3) * E / PER_WORD, weight_words = (n + 15) / 16 * 16 / PER_WORD;
    const Word* queries = qkv_ + begin * row_words + size_t(head) * head_words;
    Word* keys = pad.keys.get<Word>(size_t(key_panels) * head_words * PANEL);
    Word* values = pad.values.get<Word>(size_t(value_panels) * key_words * PANEL);
    float* scores = pad.scores.get<float>(size_t(MAX_ROWS) * key_panels * PANEL);
    Word* weights = pad.weights.get<Word>(MAX_ROWS * weight_words);
    pack_keys(queries + E / PER_WORD, row_words, n, head_words, keys);
    for (int p = 0; p < value_panels; p++)
      pack_values(queries + (2 * E + p * PANEL) / PER_WORD, row_words, n, D - p * PANEL,
                  values + size_t(p) * key_words * PANEL);
    alignas(64) float tile[MAX_ROWS * PANEL];
    float scale[MAX_ROWS];
    for (int row = 0, num = 0; row < n; row += num) {
      num = attended_rows(n - row);
      for (int p = 0; p < key_panels; p++)
        product(num, queries + row * row_words, row_words,
                keys + size_t(p) * head_words * PANEL, head_words,
                scores + size_t(p) * num * PANEL);
      for (int r = 0; r < num; r++)
        scale[r] = 1.0f / softmax(scores + r * PANEL, num * PANEL, n, weights + r * weight_words);
      for (int p = 0; p < value_panels; p++) {
        product(num, weights, weight_words, values + size_t(p) * key_words * PANEL, key_words, tile);
        for (int r = 0; r < num; r++)
          for (int i = 0; i < PANEL && p * PANEL + i < D; i += 16) {
            const F16 v = load(tile + r * PANEL + i) * set1(scale[r]);
            const size_t at = size_t(begin + row + r) * E + head * D + p * PANEL + i;
            store_words<BF>(h_ + at / PER_WORD, v, D - p * PANEL - i);
          }
      }
    }
  }

  // Panels of 32 keys: [head words][32].
  static void pack_keys(const Word* from, size_t row_words, int n, int head_words, Word* to) {
    for (int key = 0; key < n; key += PANEL, to += size_t(head_words) * PANEL) {
      const int num = std::min(PANEL, n - key);
      if (num < PANEL) std::memset(to, 0, size_t(head_words) * PANEL * sizeof(Word));
      for (int i = 0; i < num; i++) {
        const Word* at = from + size_t(key + i) * row_words;
        for (int w = 0; w < head_words; w++) to[w * PANEL + i] = at[w];
      }
    }
  }

  // A panel of up to 32 dimensions: [key words][32].
  static void pack_values(const Word* from, size_t row_words, int n, int num_dims, Word* to) {
    for (int key = 0; key < n; key += PER_WORD, from += PER_WORD * row_words, to += PANEL)
      for (int i = 0; i < PANEL; i += 16) {
        const int left = num_dims - i;
        I16 words;
        if constexpr (BF) {
          words = load_u16_first(from + i / 2, left);
          if (key + 1 < n)
            words = words | shift_left(load_u16_first(from + row_words + i / 2, left), 16);
        } else {
          words = load_ints_first(from + i, left);
        }
        store_ints(to + i, words);
      }
  }

  // exp(score - the largest) of a row, whose runs of 32 lie `stride` apart; their sum.
  static float softmax(const float* scores, int stride, int n, Word* weights) {
    const F16 lowest = set1(-INFINITY);
    auto at = [&](int i) { return scores + size_t(i / PANEL) * stride + i % PANEL; };
    F16 most = lowest, sum = zeros();
    for (int i = 0; i < n; i += 16) most = max(most, select(first_lanes(n - i), load(at(i)), lowest));
    const F16 peak = set1(reduce_max(most));
    for (int i = 0; i < n; i += 16) {
      F16 e = select(first_lanes(n - i), load(at(i)) - peak, lowest);
      e = select(greater(e, set1(-87.0f)), exp16(e), zeros());
      sum = sum + e;
      store_words<BF>(weights + i / PER_WORD, e);
    }
    return reduce_add(sum);
  }

  TeolaBertConfig c_;
  std::vector<TeolaBertLayer> layers_;
  Pool& pool_;
  std::vector<Buffer> scratch_;
  std::vector<TextPad> pads_;
  std::vector<Item> items_;
  std::vector<int> positions_;
  Buffer qkvs_, hs_, normed_words_, normed_scales_, inner_words_, inner_scales_;
  float* x_ = nullptr;                 // [T][E]
  Word *qkv_ = nullptr, *h_ = nullptr;  // [T][3 E]; what attention mixes, or the MLP's inner values
  Rows normed_{}, mixed_{}, inner_{};  // inputs of products
};

}  // namespace teola
