// KV of some tokens to other places of the pool: keys are turned by the distance, values copied.
//
// Slots of a page lie side by side, so a vector is one word of 16 tokens of the target; where source and
// target stand differently in their pages, it is read from two vectors of the source. Angles are found
// once for all layers. Every word is computed alone: threads and vectors change no bit.
#pragma once

#include "attention.h"

namespace teola {

extern "C" struct TeolaLink {
  uint8_t* kv;  // [L][2][P][page]
  int64_t num_pages;
  int32_t num_layers, num_kv_heads, head_dim, page_size;
  const int32_t *pages, *to_pages;
  int32_t first, to, num_tokens;
  const float *cos, *sin;  // [positions, D / 2]
};

// The pages of one layer's keys or values. Inside a page, for each KV head and each 16 slots, keys lie
// [D / per word words][16], values [16 / per word][D].
template <bool BF>
class PageView {
 public:
  PageView(const TeolaLink& l, int layer, int is_value) {
    const size_t words = size_t(l.head_dim) / (BF ? 2 : 1);
    per_sub_ = SUBPAGE * words;
    per_head_ = per_sub_ * (l.page_size / SUBPAGE);
    per_page_ = per_head_ * l.num_kv_heads;
    size_ = l.page_size;
    first_ = reinterpret_cast<Word*>(l.kv) + (size_t(layer) * 2 + is_value) * l.num_pages * per_page_;
  }

  // The words of the 16 slots around a token.
  Word* words(const int32_t* pages, int token, int head) const {
    return first_ + pages[token / size_] * per_page_ + head * per_head_ +
           token % size_ / SUBPAGE * per_sub_;
  }

 private:
  Word* first_;
  size_t per_page_, per_head_, per_sub_;
  int size_;
};

// Sixteen slots of the target. Slot j takes the token at place `from` + j of the source.
struct LinkedSlots {
  int to, from;    // of slot 0, whose token may be none of the link's
  int begin, end;  // slots that are written

  int shift() const { return from & (SUBPAGE - 1); }

  // Slot j's token stands among the 16 of `low` at (shift + j), or among those of `high` behind them.
  int low() const { return from - shift() + (shift() + begin < SUBPAGE ? 0 : SUBPAGE); }
  int high() const { return from - shift() + (shift() + end > SUBPAGE ? SUBPAGE : 0); }
};

inline LinkedSlots linked_slots(const TeolaLink& l, int i) {
  const int to = l.to / SUBPAGE * SUBPAGE + i * SUBPAGE;
  const int end = l.to + l.num_tokens - to;
  return {to, l.first + to - l.to, std::max(0, l.to - to), std::min(SUBPAGE, end)};
}

// The turn from one position to another: forward by the new angle and back by the old one, as they
// were rounded for the keys that are computed there. [D / 2][16 slots] each.
struct Turns {
  float *cos, *sin;

  static size_t size(const TeolaLink& l) { return size_t(l.head_dim) * SUBPAGE; }
  Turns(const TeolaLink& l, float* memory) : cos(memory), sin(memory + size(l) / 2) {}

  void find(const TeolaLink& l, const LinkedSlots& slots) const {
    const int half = l.head_dim / 2;
    for (int slot = slots.begin; slot < slots.end; slot++)
      for (int d = 0; d < half; d += 16) put(l, slots, slot, d, std::min(16, half - d));
  }

 private:
  void put(const TeolaLink& l, const LinkedSlots& slots, int slot, int d, int n) const {
    const size_t half = l.head_dim / 2;
    const size_t from = (slots.from + slot) * half + d, to = (slots.to + slot) * half + d;
    const F16 c0 = load_first(l.cos + from, n), s0 = load_first(l.sin + from, n);
    const F16 c1 = load_first(l.cos + to, n), s1 = load_first(l.sin + to, n);
    alignas(64) float c[16], s[16];
    store(c, fma(s1, s0, c1 * c0));
    store(s, fnma(c1, s0, s1 * c0));
    for (int i = 0; i < n; i++) {
      cos[(d + i) * SUBPAGE + slot] = c[i];
      sin[(d + i) * SUBPAGE + slot] = s[i];
    }
  }
};

struct LinkScratch {
  Buffer turns;
  std::vector<Buffer> rows;  // of each thread

  explicit LinkScratch(int num_threads) : rows(num_threads) {}
};

// 16 slots of the target.
template <bool BF>
class Linking {
 public:
  Linking(const TeolaLink& l, const LinkedSlots& slots, Turns turns, Buffer& memory)
      : l_(l), slots_(slots), turns_(turns), memory_(memory) {}

  void layer(int layer) {
    const PageView<BF> keys(l_, layer, 0), values(l_, layer, 1);
    for (int h = 0; h < l_.num_kv_heads; h++)
      turn_keys(keys.words(l_.pages, slots_.low(), h), keys.words(l_.pages, slots_.high(), h),
                keys.words(l_.to_pages, slots_.to, h));
    for (int h = 0; h < l_.num_kv_heads; h++)
      copy_values(values.words(l_.pages, slots_.low(), h), values.words(l_.pages, slots_.high(), h),
                  values.words(l_.to_pages, slots_.to, h));
  }

 private:
  static constexpr int PER_WORD = BF ? 2 : 1;

  struct Rows {  // row i: the words of the target's 16 slots
    const Word* first;
    int stride;
    I16 operator[](int i) const { return loadu_ints(first + size_t(i) * stride); }
  };

  Rows key_rows(const Word* low, const Word* high) const {
    if (!slots_.shift()) return {low, SUBPAGE};
    const int num = l_.head_dim / PER_WORD;
    Word* both = memory_.template get<Word>(size_t(num) * 2 * SUBPAGE);
    for (int i = 0; i < num; i++) {
      store_ints(both + i * 2 * SUBPAGE, load_ints(low + i * SUBPAGE));
      store_ints(both + i * 2 * SUBPAGE + SUBPAGE, load_ints(high + i * SUBPAGE));
    }
    return {both + slots_.shift(), 2 * SUBPAGE};
  }

  void turn_keys(const Word* low, const Word* high, Word* to) const {
    const Rows rows = key_rows(low, high);
    const int half = l_.head_dim / PER_WORD / 2;
    for (int i = 0; i < half; i++) {
      const I16 x = rows[i], y = rows[half + i];
      if constexpr (BF) {
        const Pair even = turned(low_bf16(x), low_bf16(y), 2 * i);
        const Pair odd = turned(high_bf16(x), high_bf16(y), 2 * i + 1);
        put(to + i * SUBPAGE, bf16_words(even.x, odd.x));
        put(to + (half + i) * SUBPAGE, bf16_words(even.y, odd.y));
      } else {
        const Pair pair = turned(as_floats(x), as_floats(y), i);
        put(to + i * SUBPAGE, as_ints(pair.x));
        put(to + (half + i) * SUBPAGE, as_ints(pair.y));
      }
    }
  }

  struct Pair {
    F16 x, y;
  };

  Pair turned(F16 x, F16 y, int d) const {
    const F16 c = load(turns_.cos + d * SUBPAGE), s = load(turns_.sin + d * SUBPAGE);
    return {fnma(y, s, x * c), fma(x, s, y * c)};
  }

  void put(Word* to, I16 words) const {
    if (slots_.end - slots_.begin < SUBPAGE) {
      const I16 old = load_ints(to);
      words = select(first_lanes(slots_.end), words, old);
      words = select(first_lanes(slots_.begin), old, words);
    }
    store_ints(to, words);
  }

  // Where a slot's token stands among the 32 of two neighbours.
  int place(int slot) const { return slots_.shift() + slot; }

  const Word* value_row(const Word* low, const Word* high, int slot) const {
    const int at = place(slot) % SUBPAGE / PER_WORD;
    return (place(slot) < SUBPAGE ? low : high) + size_t(at) * l_.head_dim;
  }

  void copy_values(const Word* low, const Word* high, Word* to) const {
    const size_t D = l_.head_dim;
    for (int slot = slots_.begin / PER_WORD * PER_WORD; slot < slots_.end; slot += PER_WORD) {
      Word* row = to + slot / PER_WORD * D;
      if constexpr (BF) copy_pair(low, high, slot, row);
      else std::memcpy(row, value_row(low, high, slot), D * sizeof(Word));
    }
  }

  // Values of two slots, of which one may keep what it has.
  void copy_pair(const Word* low, const Word* high, int slot, Word* to) const {
    const bool has_first = slot >= slots_.begin, has_second = slot + 1 < slots_.end;
    const Word* x = has_first ? value_row(low, high, slot) : to;
    const Word* y = has_second ? value_row(low, high, slot + 1) : to;
    const int right = has_first && place(slot) % 2 ? 16 : 0;
    const int left = has_second && place(slot) % 2 ? 16 : 0;
    for (int d = 0; d < l_.head_dim; d += 16) {
      const I16 first = shift_right(load_ints(x + d), right) & set1_int(0xffff);
      const I16 second = shift_left(load_ints(y + d), left) & set1_int(0xffff0000);
      store_ints(to + d, first | second);
    }
  }

  const TeolaLink& l_;
  LinkedSlots slots_;
  Turns turns_;
  Buffer& memory_;
};

template <bool BF>
void link(const TeolaLink& l, Pool& pool, LinkScratch& scratch) {
  if (l.num_tokens <= 0) return;
  constexpr int VECTORS = 8;  // of an item: side by side in the source too, and of one layer
  const int num = (l.to + l.num_tokens - 1) / SUBPAGE - l.to / SUBPAGE + 1;
  const int parts = (num + VECTORS - 1) / VECTORS;
  float* memory = scratch.turns.get<float>(Turns::size(l) * num);
  const auto turns = [&](int i) { return Turns(l, memory + Turns::size(l) * i); };
  pool.ranges(num, VECTORS, [&](int begin, int end) {
    for (int i = begin; i < end; i++) turns(i).find(l, linked_slots(l, i));
  });
  pool.run(parts * l.num_layers, [&](int item, int thread) {
    const int first = item % parts * VECTORS;
    for (int i = first; i < std::min(num, first + VECTORS); i++)
      Linking<BF>(l, linked_slots(l, i), turns(i), scratch.rows[thread]).layer(item / parts);
  });
}

}  // namespace teola
