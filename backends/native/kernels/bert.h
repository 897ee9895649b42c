// A BERT encoder: texts of any lengths end to end, nothing padded.
//
// Every row is computed by the same operations in the same order whatever texts stand beside its
// own: a text has the same bits alone and in any batch. Activations stay float32 between products;
// only the inputs of products are rounded. AS_BF16: of all, attention's too. AS_SHORT (see shorts.h): of
// those with weights; attention is float32.
//
// Shapes: T rows of a batch, E hidden size, H heads, D head size, F MLP width; n rows of one text.
#pragma once

#include "bert_rows.h"
#include "text_attention.h"

namespace teola {

extern "C" struct TeolaBertConfig {
  int32_t num_layers, hidden, num_heads, width;
  int32_t activation;  // an Ending: RELU, GELU or GELU_TANH
  int32_t inputs;  // an Inputs
  float eps;
  const float *words, *types, *positions;  // [.., E]
  TeolaNorm norm;
};

extern "C" struct TeolaTexts {
  int32_t num_rows, num_texts;
  const int32_t* starts;  // [texts + 1] rows
  const int32_t *ids, *types;  // [T]
  float* hidden;  // [T][E], the last hidden state
};

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
        text_pads_(pool.size()), row_pads_(pool.size()) {}

  // Few rows: all threads share each step. Many: blocks of them go from attention to attention.
  void encode(const TeolaTexts& s) override {
    const int T = s.num_rows, blocks = std::min(T / BLOCK_ROWS, 8 * pool_.size());
    qkv_ = qkvs_.get<Word>(size_t(T) * 3 * c_.hidden / PER_WORD);
    mixed_ = mixes_.get<Word>(size_t(T) * c_.hidden / PER_WORD);
    if (blocks < 2 * pool_.size()) {
      const AllThreads by{pool_, scratch_};
      return layers(s, [&](const auto& steps) { steps(rows(s, 0, T, row_pads_[0]), 0, by); });
    }
    layers(s, [&](const auto& steps) {
      pool_.run(blocks, [&](int i, int thread) {
        const int begin = int(int64_t(T) * i / blocks), end = int(int64_t(T) * (i + 1) / blocks);
        steps(rows(s, begin, end, row_pads_[thread]), begin, OneThread{});
      });
    });
  }

 private:
  static constexpr int BLOCK_ROWS = 48;  // at least: all weights are read for each block

  BertRows<INPUTS> rows(const TeolaTexts& s, int begin, int end, RowPad& pad) const {
    const size_t at = size_t(begin) * c_.hidden, words = at / PER_WORD;
    return {pad, c_.hidden, c_.width, end - begin, s.hidden + at, qkv_ + 3 * words, mixed_ + words};
  }

  // share(steps): between two attentions no row needs another.
  template <class Share>
  void layers(const TeolaTexts& s, const Share& share) {
    find_positions(s);
    share([&](const auto& rows, int first, const auto& by) {
      by.rows(rows.size(), [&](int i) { embed(s, rows, first + i, i); });
      rows.queries_keys_values(layers_[0].qkv, by);
    });
    for (size_t i = 0; i < layers_.size(); i++) {
      attend(s);
      share([&](const auto& rows, int, const auto& by) {
        rows.mlp(layers_[i], c_.activation, c_.eps, by);
        if (i + 1 < layers_.size()) rows.queries_keys_values(layers_[i + 1].qkv, by);
      });
    }
  }

  void find_positions(const TeolaTexts& s) {
    positions_.resize(s.num_rows);
    for (int i = 0; i < s.num_texts; i++)
      for (int row = s.starts[i]; row < s.starts[i + 1]; row++) positions_[row] = row - s.starts[i];
  }

  void embed(const TeolaTexts& s, const BertRows<INPUTS>& rows, int token, int row) const {
    const size_t E = c_.hidden;
    const float* word = c_.words + s.ids[token] * E;
    const float* type = c_.types + s.types[token] * E;
    const float* position = c_.positions + positions_[token] * E;
    float* x = rows.row(row);
    for (size_t i = 0; i < E; i++) x[i] = word[i] + type[i] + position[i];
    rows.norm(c_.norm, c_.eps, row);
  }

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
        attend(s, items_[i].text, head, text_pads_[thread]);
    });
  }

  void attend(const TeolaTexts& s, int text, int head, TextPad& pad) const {
    const int begin = s.starts[text], D = c_.hidden / c_.num_heads;
    const size_t out_words = c_.hidden / PER_WORD, row_words = 3 * out_words;
    const size_t in_row = size_t(head) * (D / PER_WORD);
    const Word* queries = qkv_ + begin * row_words + in_row;
    TextHead<BF>{queries, queries + out_words, queries + 2 * out_words, row_words,
                 s.starts[text + 1] - begin, D, mixed_ + begin * out_words + in_row, out_words}
        .attend(pad);
  }

  TeolaBertConfig c_;
  std::vector<TeolaBertLayer> layers_;
  Pool& pool_;
  std::vector<Buffer> scratch_;
  std::vector<TextPad> text_pads_;
  std::vector<RowPad> row_pads_;
  std::vector<Item> items_;
  std::vector<int> positions_;
  Buffer qkvs_, mixes_;
  Word *qkv_ = nullptr, *mixed_ = nullptr;  // [T][3 E], [T][E]
};

}  // namespace teola
