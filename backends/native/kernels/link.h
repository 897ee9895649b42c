// KV of some tokens to other places of the pool: keys are turned by the distance, values copied.
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
  PageView(const TeolaLink& l, int layer, int is_value) : D_(l.head_dim), size_(l.page_size) {
    const size_t page_bytes = size_t(D_) * size_ * l.num_kv_heads * (BF ? 2 : 4);
    base_ = l.kv + (size_t(layer) * 2 + is_value) * l.num_pages * page_bytes;
    page_bytes_ = page_bytes;
  }

  // The words of 16 slots, and which of the slots a token has.
  Word* words(const int32_t* pages, int token, int head) const {
    const size_t sub_words = size_t(SUBPAGE) * D_ / (BF ? 2 : 1);
    const size_t at = size_t(head) * (size_ / SUBPAGE) + token % size_ / SUBPAGE;
    return reinterpret_cast<Word*>(base_ + pages[token / size_] * page_bytes_) + at * sub_words;
  }

 private:
  uint8_t* base_;
  size_t page_bytes_;
  int D_, size_;
};

template <bool BF>
inline float read_key(const Word* words, int slot, int d) {
  if constexpr (BF) {
    const Word pair = words[(d / 2) * SUBPAGE + slot];
    const uint32_t bits = d % 2 ? pair & 0xffff0000u : pair << 16;
    float x;
    std::memcpy(&x, &bits, 4);
    return x;
  } else {
    return reinterpret_cast<const float*>(words)[d * SUBPAGE + slot];
  }
}

// The turn from one position to another: forward by the new angle and back by the old one, as they
// were rounded for the keys that are computed there.
struct Turn {
  std::vector<float> cos, sin;  // [D / 2]

  explicit Turn(int half) : cos(half), sin(half) {}

  void set(const TeolaLink& l, int from, int to) {
    const int half = l.head_dim / 2;
    const float *c0 = l.cos + size_t(from) * half, *s0 = l.sin + size_t(from) * half;
    const float *c1 = l.cos + size_t(to) * half, *s1 = l.sin + size_t(to) * half;
    for (int i = 0; i < half; i++) {
      cos[i] = c1[i] * c0[i] + s1[i] * s0[i];
      sin[i] = s1[i] * c0[i] - c1[i] * s0[i];
    }
  }
};

template <bool BF>
void turn_key(int half, const Turn& turn, const Word* from, int slot, Word* to, int to_slot) {
  for (int d = 0; d < half; d += 2) {
    float low[2], high[2];
    for (int i = 0; i < 2; i++) {
      const float x = read_key<BF>(from, slot, d + i), y = read_key<BF>(from, slot, d + half + i);
      low[i] = x * turn.cos[d + i] - y * turn.sin[d + i];
      high[i] = y * turn.cos[d + i] + x * turn.sin[d + i];
    }
    if constexpr (BF) {
      to[d / 2 * SUBPAGE + to_slot] = to_bf16(low[0]) | Word(to_bf16(low[1])) << 16;
      to[(d + half) / 2 * SUBPAGE + to_slot] = to_bf16(high[0]) | Word(to_bf16(high[1])) << 16;
    } else {
      float* out = reinterpret_cast<float*>(to);
      for (int i = 0; i < 2; i++) {
        out[(d + i) * SUBPAGE + to_slot] = low[i];
        out[(d + half + i) * SUBPAGE + to_slot] = high[i];
      }
    }
  }
}

template <bool BF>
void copy_value(int head_dim, const Word* from, int slot, Word* to, int to_slot) {
  if constexpr (BF) {
    const auto* x = reinterpret_cast<const uint16_t*>(from) + size_t(slot / 2) * head_dim * 2 + slot % 2;
    auto* y = reinterpret_cast<uint16_t*>(to) + size_t(to_slot / 2) * head_dim * 2 + to_slot % 2;
    for (int d = 0; d < head_dim; d++) y[d * 2] = x[d * 2];
  } else {
    std::memcpy(to + size_t(to_slot) * head_dim, from + size_t(slot) * head_dim, size_t(head_dim) * 4);
  }
}

// Layers apart: a word of two values is written by one thread.
template <bool BF>
void link(const TeolaLink& l, Pool& pool) {
  pool.run(l.num_layers, [&](int layer, int) {
    const PageView<BF> keys(l, layer, 0), values(l, layer, 1);
    Turn turn(l.head_dim / 2);
    for (int t = 0; t < l.num_tokens; t++) {
      const int from = l.first + t, to = l.to + t;
      turn.set(l, from, to);
      for (int h = 0; h < l.num_kv_heads; h++) {
        turn_key<BF>(l.head_dim / 2, turn, keys.words(l.pages, from, h), from % SUBPAGE,
                     keys.words(l.to_pages, to, h), to % SUBPAGE);
        copy_value<BF>(l.head_dim, values.words(l.pages, from, h), from % SUBPAGE,
                       values.words(l.to_pages, to, h), to % SUBPAGE);
      }
    }
  });
}

}  // namespace teola
