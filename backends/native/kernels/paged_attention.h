// Attention of a step over paged keys and values: which rows of which heads an item of work takes, and
// where they find their pages.
//
// An item that takes all rows of a span writes their keys and values itself, just before it reads
// them, where no other span of the step can read them: a decode needs no phase for that. Others find
// them in place.
//
// Rows stand at the places that the step says, ascending within a span: a prompt that reads some KV of
// others has gaps. A row sees the keys up to its own place.
#pragma once

#include "attention.h"
#include "product.h"
#include "step.h"

namespace teola {

// Words of a row that `to` reads.
template <bool BF>
size_t row_words(const Linear& to) {
  return is_int8(to.format) ? int8_row_words(to.k) : size_t(to.k) / (BF ? 2 : 1);
}

template <bool BF>
class PagedAttention {
 public:
  static constexpr int PER_WORD = BF ? 2 : 1;

  // Of one layer.
  struct Pass {
    const TeolaStep& s;
    int layer;
    float* qkv;        // [T][H + 2 K][D]
    const Linear& to;  // reads the outputs
    Word* out;
  };

  PagedAttention(const TeolaConfig& c, Pool& pool) : c_(c), pool_(pool), pads_(pool.size()) {}

  void take_all(const TeolaStep& s) {
    const int rows = rows_per_item();
    clear(s);
    for (int i = s.num_spans - 1; i >= 0; i--)
      for (int end = s.spans[i].end; end > s.spans[i].start; end -= rows)  // longest first
        add_items(s, i, std::max(s.spans[i].start, end - rows), end);
  }

  // Only rows whose logits are wanted.
  void take_wanted(const TeolaStep& s) {
    clear(s);
    for (int i = 0, span = 0; i < s.num_logits;) {
      const int begin = int(s.logit_rows[i]);
      while (s.spans[span].end <= begin) span++;
      int end = begin + 1;
      for (i++; i < s.num_logits && s.logit_rows[i] == end && end < s.spans[span].end &&
                end - begin < rows_per_item(); i++)
        end++;
      add_items(s, span, begin, end);
    }
  }

  // Keys and values of all rows go to their pages, and nothing else is done.
  void place_all(const Pass& p) {
    clear(p.s);
    place(p);
    if (looks_at(p)) look(p);
  }

  // Of the rows taken; keys and values of all rows go to their pages.
  void run(const Pass& p) {
    if (looks_at(p)) is_whole_.assign(size_t(p.s.num_spans), false);
    place(p);
    if (looks_at(p)) look(p);
    pool_.run(int(items_.size()), [&](int i, int thread) {
      const size_t next = std::min(size_t(i + pool_.size()), items_.size() - 1);  // likely this thread's
      run(p, items_[i], items_[next], pads_[thread]);
    });
  }

 private:
  struct Item {
    int span, head, begin, end;  // rows of one KV head's queries
  };

  // A head's keys [D][16] and values [16][D] (in pairs where BF) in the 16 slots around a token.
  struct Subpage {
    Word *keys, *values;
  };

  int group() const { return c_.num_heads / c_.num_kv_heads; }
  int rows_per_item() const { return std::max(1, 48 / group()); }

  void clear(const TeolaStep& s) {
    items_.clear();
    is_whole_.assign(size_t(s.num_spans), false);
  }

  void add_items(const TeolaStep& s, int span, int begin, int end) {
    is_whole_[span] = begin == s.spans[span].start && end == s.spans[span].end && is_alone(s, span);
    for (int h = 0; h < c_.num_kv_heads; h++) items_.push_back({span, h, begin, end});
  }

  // Whether no other span reads what this one writes: others may share a page from the step on that
  // fills it.
  static bool is_alone(const TeolaStep& s, int i) {
    const TeolaSpan& span = s.spans[i];
    return s.positions[span.start] / s.page_size == span.num_keys / s.page_size;
  }

  Subpage subpage(const Pass& p, const TeolaSpan& span, int position, int head) const {
    const TeolaStep& s = p.s;
    const size_t words = size_t(SUBPAGE) * c_.head_dim / PER_WORD;
    const size_t per_head = words * (s.page_size / SUBPAGE), per_page = per_head * c_.num_kv_heads;
    const int page = s.pages[span.page_start + position / s.page_size];
    const int sub = position % s.page_size / SUBPAGE;
    Word* keys = reinterpret_cast<Word*>(s.kv) + size_t(p.layer) * 2 * s.num_pages * per_page +
                 page * per_page + head * per_head + sub * words;
    return {keys, keys + s.num_pages * per_page};
  }

  float* head_of(const Pass& p, int row, int head) const {
    return p.qkv + (size_t(row) * (c_.num_heads + 2 * c_.num_kv_heads) + head) * c_.head_dim;
  }

  // A head of queries or keys, by its position.
  void rotate(const TeolaStep& s, int row, float* x) const {
    const int half = c_.head_dim / 2;
    const float* cos = s.cos + size_t(s.positions[row]) * half;
    const float* sin = s.sin + size_t(s.positions[row]) * half;
    for (int i = 0; i < half; i += 16) {
      const int n = half - i;
      const F16 c = load_first(cos + i, n), d = load_first(sin + i, n);
      const F16 low = load_first(x + i, n), high = load_first(x + half + i, n);
      store_first(x + i, fnma(high, d, low * c), n);
      store_first(x + half + i, fma(low, d, high * c), n);
    }
  }

  // ---------------------------------------------------------------- keys and values

  // Those of spans that no item takes as a whole.
  void place(const Pass& p) {
    const auto spans = p.s.spans;
    if (std::find(is_whole_.begin(), is_whole_.end(), false) == is_whole_.end()) return;
    pool_.ranges(p.s.num_rows, 16, [&](int begin, int end) {
      for (int i = 0; i < p.s.num_spans; i++) {
        if (is_whole_[i]) continue;
        const int first = std::max(begin, spans[i].start), last = std::min(end, spans[i].end);
        for (int row = first; row < last; row++)
          for (int h = 0; h < c_.num_kv_heads; h++) place(p, spans[i], row, h);
      }
    });
  }

  void place(const Pass& p, const TeolaSpan& span, int row, int head) const {
    const int D = c_.head_dim, position = int(p.s.positions[row]), at = position % SUBPAGE;
    const Subpage to = subpage(p, span, position, head);
    float* key = head_of(p, row, c_.num_heads + head);
    const float* value = head_of(p, row, c_.num_heads + c_.num_kv_heads + head);
    rotate(p.s, row, key);
    if constexpr (BF) {
      uint16_t* v = reinterpret_cast<uint16_t*>(to.values) + size_t(at / 2) * D * 2 + at % 2;
      // The other half of its words is stale, where no link wrote it.
      const bool is_alone = at % 2 == 0 && row + 1 == span.end && !span.is_linked;
      for (int i = 0; i < D; i += 2)
        to.keys[(i / 2) * SUBPAGE + at] = to_bf16(key[i]) | Word(to_bf16(key[i + 1])) << 16;
      for (int i = 0; i < D; i++) v[i * 2] = to_bf16(value[i]);
      if (is_alone)
        for (int i = 0; i < D; i++) v[i * 2 + 1] = 0;
    } else {
      float* k = reinterpret_cast<float*>(to.keys);
      for (int i = 0; i < D; i++) k[i * SUBPAGE + at] = key[i];
      std::memcpy(to.values + size_t(at) * D, value, size_t(D) * 4);
    }
  }

  // ---------------------------------------------------------------- attention

  void run(const Pass& p, const Item& item, const Item& next, Scratchpad& pad) {
    const TeolaSpan& span = p.s.spans[item.span];
    const int D = c_.head_dim, num = (item.end - item.begin) * group();
    Word* q = pad.queries.get<Word>(size_t(num) * D / PER_WORD);
    float* o = pad.outputs.get<float>(size_t(num) * D);
    float* peak = pad.state.get<float>(size_t(num) * 2);
    float* total = peak + num;
    const int num_keys = keys_of(p, item);
    gather_queries(p, item, q);
    if (is_whole_[item.span])
      for (int row = item.begin; row < item.end; row++) place(p, span, row, item.head);
    std::memset(o, 0, size_t(num) * D * 4);
    std::fill(peak, peak + num, -INFINITY);
    std::fill(total, total + num, 0.0f);
    attend<BF>(Queries{q, o, peak, total, num, group(), D, p.s.positions + item.begin}, num_keys,
               [&](int key) { return key < num_keys ? block(p, item, key) : block(p, next, 0); },
               pad);
    for (int r = 0; r < num; r++) put(p, item, r, o + size_t(r) * D, 1.0f / total[r]);
  }

  // ---------------------------------------------------------------- looks

  static bool looks_at(const TeolaLook& look, int layer) {
    return look.first_layer <= layer && layer < look.end_layer;
  }

  static bool looks_at(const Pass& p) {
    const auto looks = p.s.looks;
    return std::any_of(looks, looks + p.s.num_looks, [&](auto& x) { return looks_at(x, p.layer); });
  }

  // Weights of a layer's attention, added to the looks' masses. Queries are not turned yet.
  void look(const Pass& p) {
    struct Part {
      const TeolaLook* look;
      Item item;
      size_t at;  // of its own sums
    };
    std::vector<Part> parts;
    size_t num_sums = 0;
    for (const TeolaLook* look = p.s.looks; look < p.s.looks + p.s.num_looks; look++) {
      if (!looks_at(*look, p.layer)) continue;
      for (int begin = look->start; begin < look->end; begin += rows_per_item())
        for (int head = 0; head < c_.num_kv_heads; head++) {
          parts.push_back({look, {look->span, head, begin, std::min(look->end, begin + rows_per_item())}, num_sums});
          num_sums += size_t(p.s.spans[look->span].num_keys);
        }
    }
    float* sums = masses_.get<float>(num_sums);
    std::memset(sums, 0, num_sums * 4);
    pool_.run(int(parts.size()), [&](int i, int thread) {
      look(p, parts[i].item, sums + parts[i].at, pads_[thread]);
    });
    for (const Part& part : parts) {  // in one order, however many threads there are
      const int num_keys = keys_of(p, part.item);
      for (int key = 0; key < num_keys; key++) part.look->mass[key] += sums[part.at + key];
    }
  }

  void look(const Pass& p, const Item& item, float* mass, Scratchpad& pad) {
    const int D = c_.head_dim, num = (item.end - item.begin) * group(), num_keys = keys_of(p, item);
    const size_t stride = size_t(num_keys + KEYS - 1) / KEYS * KEYS;
    Word* words = pad.queries.get<Word>(size_t(num) * D / PER_WORD);
    float* scores = pad.scores.get<float>(num * stride);
    copy_queries(p, item, words, pad);
    const Queries q{words, nullptr, nullptr, nullptr, num, group(), D, p.s.positions + item.begin};
    for (int key = 0; key < num_keys; key += KEYS) {
      KeyBlock b = block(p, item, key), next = block(p, item, std::min(key + KEYS, num_keys - 1));
      b.next = &next;
      Tiles<BF ? Kv::PAIRS : Kv::FLOATS>::scores(q, b, scores + key, stride);
    }
    for (int r = 0; r < num; r++)
      add_weights(scores + r * stride, int(q.places[r / group()]) + 1, mass);
  }

  // Scores of the keys that a row sees to weights, which are added to `mass`.
  static void add_weights(float* scores, int seen, float* mass) {
    const auto at = [&](int i) {
      return select(first_lanes(seen - i), loadu(scores + i), set1(-INFINITY));
    };
    F16 peak = set1(-INFINITY), total = zeros();
    for (int i = 0; i < seen; i += 16) peak = max(peak, at(i));
    const F16 largest = set1(reduce_max(peak));
    for (int i = 0; i < seen; i += 16) {
      const F16 e = exp2_16<4>((at(i) - largest) * set1(LOG2_E));
      storeu(scores + i, e);
      total = total + e;
    }
    const F16 scale = set1(1.0f / reduce_add(total));
    for (int i = 0; i < seen; i += 16)
      store_first(mass + i, fma(loadu(scores + i), scale, load_first(mass + i, seen - i)), seen - i);
  }

  // As `gather_queries` has them; those of the step stay as they are.
  void copy_queries(const Pass& p, const Item& item, Word* q, Scratchpad& pad) const {
    const int D = c_.head_dim;
    const F16 scale = set1(1.0f / std::sqrt(float(D)));
    float* x = pad.outputs.get<float>(size_t(D));
    for (int row = item.begin; row < item.end; row++)
      for (int g = 0; g < group(); g++, q += D / PER_WORD) {
        std::memcpy(x, head_of(p, row, item.head * group() + g), size_t(D) * 4);
        rotate(p.s, row, x);
        for (int i = 0; i < D; i += 16) store_words<BF>(q + i / PER_WORD, loadu(x + i) * scale);
      }
  }

  // Rotated, scaled and in words: [rows][group][D].
  void gather_queries(const Pass& p, const Item& item, Word* q) const {
    const int D = c_.head_dim;
    const F16 scale = set1(1.0f / std::sqrt(float(D)));
    for (int row = item.begin; row < item.end; row++)
      for (int g = 0; g < group(); g++, q += D / PER_WORD) {
        float* x = head_of(p, row, item.head * group() + g);
        rotate(p.s, row, x);
        for (int i = 0; i < D; i += 16) store_words<BF>(q + i / PER_WORD, loadu(x + i) * scale);
      }
  }

  static int keys_of(const Pass& p, const Item& item) { return int(p.s.positions[item.end - 1]) + 1; }

  KeyBlock block(const Pass& p, const Item& item, int key) const {
    const TeolaSpan& span = p.s.spans[item.span];
    const int last = keys_of(p, item) - 1;
    KeyBlock b{key, {}, {}};
    for (int j = 0; j < KEYS / SUBPAGE; j++) {
      const int at = std::min(key + j * SUBPAGE, last / SUBPAGE * SUBPAGE);
      const Subpage from = subpage(p, span, at, item.head);
      b.keys[j] = from.keys, b.values[j] = from.values;
    }
    return b;
  }

  // Query r's outputs, as the next product reads them.
  void put(const Pass& p, const Item& item, int r, const float* o, float scale) const {
    const int D = c_.head_dim, column = (item.head * group() + r % group()) * D;
    Word* row = p.out + row_words<BF>(p.to) * (item.begin + r / group());
    auto value = [&](int i) { return loadu(o + i) * set1(scale); };
    if (is_int8(p.to.format))  // its groups end with heads
      for (int i = 0; i < D; i += GROUP)
        quantise_group(Int8Rows{row, p.to.k}[0], (column + i) / GROUP, value(i), value(i + 16));
    else
      for (int i = 0; i < D; i += 16) store_words<BF>(row + (column + i) / PER_WORD, value(i));
  }

  TeolaConfig c_;
  Pool& pool_;
  std::vector<Scratchpad> pads_;
  std::vector<Item> items_;
  Buffer masses_;
  std::vector<bool> is_whole_;  // spans whose items write their keys and values
};

}  // namespace teola
