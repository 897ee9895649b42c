// Attention of one KV head's queries over paged keys, FlashAttention's recurrence over blocks of 64
// keys. A row sees the same operations in the same order whatever rows share its tile.
//
// A value is read only up to the last key that a row of the tile sees: what other requests left in the
// slots behind is never touched, be it NaN.
#pragma once

#include <algorithm>
#include <cmath>

#include "threads.h"
#include "words.h"

namespace teola {

constexpr int KEYS = 64;     // keys of a block
constexpr int SUBPAGE = 16;  // keys that lie side by side in a page: one vector

struct Scratchpad {  // of one thread
  Buffer queries, outputs, state, wide, sums, scores;
};

// Rows of queries and what they gathered so far. Row r sees the keys up to places[r / `group`], which
// ascend; a prompt that reads some KV of others has gaps between them.
struct Queries {
  const Word* words;  // [rows][D words]
  float* outputs;     // [rows][D]
  float *peaks, *totals;
  int num_rows, group, head_dim;
  const int64_t* places;
  float* sums = nullptr;  // [rows][16]: lanes of the totals until all keys are seen
};

struct KeyBlock {
  int key;  // the first of 64
  const Word *keys[KEYS / SUBPAGE], *values[KEYS / SUBPAGE];  // [D words][16], [16 / per word][D]
  const KeyBlock* next = nullptr;  // fetched meanwhile; or null
};

// How a kernel reads keys and values: float32; pairs of bfloat16; or bfloat16 that was widened to
// float32 before, which gives the bits of pairs where a set has no instruction for them.
enum class Kv { FLOATS, PAIRS, WIDE };

template <Kv kv>
class Tiles {
 public:
  static constexpr bool BF = kv == Kv::PAIRS;
  static constexpr int PER_WORD = BF ? 2 : 1;
  static constexpr int DEGREE = kv == Kv::FLOATS ? 6 : 4;  // bfloat16 needs no more

  static void all(const Queries& q, const KeyBlock& b) {
    for (int r = first_to_see(q, b.key); r < q.num_rows;) {
      const int left = q.num_rows - r;
      if (left >= 6) tile<6>(q, b, r), r += 6;
      else if (left >= 3) tile<3>(q, b, r), r += 3;
      else tile<1>(q, b, r), r += 1;
    }
  }

  // [rows][64] of the block at `out`, whose rows lie `stride` floats apart: those of keys that a row
  // sees, and any number for others.
  static void scores(const Queries& q, const KeyBlock& b, float* out, size_t stride) {
    for (int r = 0; r < q.num_rows;) {
      const int left = q.num_rows - r;
      if (left >= 6) r += scores_of<6>(q, b, r, out, stride);
      else if (left >= 3) r += scores_of<3>(q, b, r, out, stride);
      else r += scores_of<1>(q, b, r, out, stride);
    }
  }

 private:
  template <int R>
  static int scores_of(const Queries& q, const KeyBlock& b, int r0, float* out, size_t stride) {
    alignas(64) float scores[R][KEYS];
    constexpr int V = across(R);
    for (int j = 0; j < KEYS / SUBPAGE; j += V) score<R, V>(q, b, r0, j, scores);
    for (int r = 0; r < R; r++) std::memcpy(out + (r0 + r) * stride, scores[r], sizeof scores[r]);
    return R;
  }

  // Rows before see none of the keys from `key` on.
  static int first_to_see(const Queries& q, int key) {
    const int64_t* end = q.places + q.num_rows / q.group;
    return int(std::lower_bound(q.places, end, key) - q.places) * q.group;
  }

  // Keys of the block that a row sees, if it sees any.
  static int num_seen(const Queries& q, int row, int key) {
    return int(std::min<int64_t>(KEYS, q.places[row / q.group] + 1 - key));
  }

  // Vectors side by side, so that a tile's sums stay in registers.
  static constexpr int across(int rows) {
    constexpr bool spreads = BF && !HAS_BF16_DOT;  // two registers for a vector of pairs
    return REGISTERS >= 32 ? 4 : rows == 6 ? 1 : rows == 3 ? (spreads ? 1 : 2) : spreads ? 2 : 4;
  }

  // Few rows wait for memory, and pages lie apart: no core foresees them.
  static constexpr bool fetches(int rows) { return rows <= 3; }

  template <int R>
  static void tile(const Queries& q, const KeyBlock& b, int r0) {
    alignas(64) float scores[R][KEYS];
    alignas(64) Word weights[R][KEYS];
    F16 factors[R];
    const int seen = num_seen(q, r0 + R - 1, b.key);  // by the last row
    constexpr int V = across(R);
    for (int j = 0; j < KEYS / SUBPAGE; j += V)
      if (j * SUBPAGE < seen) score<R, V>(q, b, r0, j, scores);
    for (int r = 0; r < R; r++) factors[r] = weigh(q, r0 + r, b.key, scores[r], weights[r]);
    for (int d = 0; d < q.head_dim;) {
      const int left = q.head_dim - d;
      if (V >= 4 && left >= 64) add_values<R, std::min(V, 4)>(q, b, r0, d, seen, factors, weights), d += 64;
      else if (V >= 2 && left >= 32) add_values<R, std::min(V, 2)>(q, b, r0, d, seen, factors, weights), d += 32;
      else add_values<R, 1>(q, b, r0, d, seen, factors, weights), d += 16;
    }
  }

  template <int R, int V>
  static void score(const Queries& q, const KeyBlock& b, int r0, int j0, float (*scores)[KEYS]) {
    const int words = q.head_dim / PER_WORD;
    const Word* rows = q.words + size_t(r0) * words;
    const KeyBlock& next = b.next ? *b.next : b;
    F16 c[R][V];
    UNROLL for (int r = 0; r < R; r++)
      UNROLL for (int v = 0; v < V; v++) c[r][v] = zeros();
    for (int k = 0; k < words; k++) {
      if constexpr (fetches(R))
        UNROLL for (int v = 0; v < V; v++) fetch_near(next.keys[j0 + v] + k * SUBPAGE);
      Operand<BF> keys[V];
      UNROLL for (int v = 0; v < V; v++) keys[v] = load_operand<BF>(b.keys[j0 + v] + k * SUBPAGE);
      UNROLL for (int r = 0; r < R; r++)
        UNROLL for (int v = 0; v < V; v++)
          c[r][v] = mac<BF>(c[r][v], rows + size_t(r) * words + k, keys[v]);
    }
    UNROLL for (int r = 0; r < R; r++)
      UNROLL for (int v = 0; v < V; v++) store(scores[r] + (j0 + v) * SUBPAGE, c[r][v]);
  }

  // Scores to weights, exp(score - the largest so far); what earlier sums are to be multiplied by.
  static F16 weigh(const Queries& q, int row, int key, const float* scores, Word* weights) {
    const int seen = num_seen(q, row, key);
    const F16 lowest = set1(-INFINITY);
    F16 s[KEYS / SUBPAGE];
    UNROLL for (int j = 0; j < KEYS / SUBPAGE; j++)
      s[j] = j * SUBPAGE < seen ? load(scores + j * SUBPAGE) : lowest;
    if (seen < KEYS)
      UNROLL for (int j = 0; j < KEYS / SUBPAGE; j++)
        s[j] = select(first_lanes(seen - j * SUBPAGE), s[j], lowest);
    const float before = q.peaks[row];
    const float now = std::max(before, reduce_max(max(max(s[0], s[1]), max(s[2], s[3]))));
    F16 sum = zeros();
    UNROLL for (int j = 0; j < KEYS / SUBPAGE; j++) {
      const F16 e = exp2_16<DEGREE>((s[j] - set1(now)) * set1(LOG2_E));
      sum = sum + e;
      put(weights, j, e);
    }
    const F16 factor = exp2_16<DEGREE>(set1((before - now) * LOG2_E));
    float* sums = q.sums + size_t(row) * 16;
    store(sums, fma(load(sums), factor, sum));
    q.peaks[row] = now;
    return factor;
  }

  static void put(Word* weights, int j, F16 x) {
    if constexpr (kv == Kv::WIDE) x = rounded_to_bf16(x);
    store_words<BF>(weights + j * SUBPAGE / PER_WORD, x);
  }

  template <int R, int V>
  static void add_values(const Queries& q, const KeyBlock& b, int r0, int d, int seen,
                         const F16* factors, const Word (*weights)[KEYS]) {
    const size_t D = q.head_dim;
    float* out = q.outputs + r0 * D + d;
    const KeyBlock& next = b.next ? *b.next : b;
    F16 c[R][V];
    UNROLL for (int r = 0; r < R; r++)
      UNROLL for (int v = 0; v < V; v++) c[r][v] = loadu(out + r * D + 16 * v) * factors[r];
    for (int j = 0; j * SUBPAGE < seen; j++) {
      const int num = (std::min(SUBPAGE, seen - j * SUBPAGE) + PER_WORD - 1) / PER_WORD;
      const Word* at = b.values[j] + d;
      for (int k = 0; k < num; k++, at += D) {
        if constexpr (fetches(R))
          UNROLL for (int v = 0; v < V; v++) fetch_near(next.values[j] + (at - b.values[j]) + 16 * v);
        Operand<BF> values[V];
        UNROLL for (int v = 0; v < V; v++) values[v] = load_operand<BF>(at + 16 * v);
        UNROLL for (int r = 0; r < R; r++)
          UNROLL for (int v = 0; v < V; v++)
            c[r][v] = mac<BF>(c[r][v], weights[r] + j * (SUBPAGE / PER_WORD) + k, values[v]);
      }
    }
    UNROLL for (int r = 0; r < R; r++)
      UNROLL for (int v = 0; v < V; v++) storeu(out + r * D + 16 * v, c[r][v]);
  }
};

// Pairs to floats: keys [D / 2 words][16] to [D][16], values [8 words][D] to [16][D].
inline void widen(const Word* from, int num_words, int width, float* to) {
  for (int k = 0; k < num_words; k++, from += width, to += 2 * width)
    for (int i = 0; i < width; i += 16) {
      const I16 x = load_ints(from + i);
      store(to + i, low_bf16(x));
      store(to + width + i, high_bf16(x));
    }
}

// The block's keys and values as floats in `to`, [2][64][D].
inline KeyBlock widened(const KeyBlock& b, int head_dim, int num_keys, float* to) {
  KeyBlock wide{b.key, {}, {}};
  for (int j = 0; j < KEYS / SUBPAGE; j++) {
    float* keys = to + size_t(j) * SUBPAGE * head_dim;
    float* values = keys + size_t(KEYS) * head_dim;
    wide.keys[j] = reinterpret_cast<const Word*>(keys);
    wide.values[j] = reinterpret_cast<const Word*>(values);
    if (b.key + j * SUBPAGE >= num_keys) continue;
    widen(b.keys[j], head_dim / 2, SUBPAGE, keys);
    widen(b.values[j], SUBPAGE / 2, head_dim, values);
  }
  return wide;
}

// bfloat16 without instructions for it: every block is widened once for all rows.
template <class Blocks>
void attend_wide(const Queries& q, int num_keys, const Blocks& block, Scratchpad& pad) {
  const size_t per_block = size_t(2) * KEYS * q.head_dim, in_queries = size_t(q.num_rows) * q.head_dim;
  float* wide = pad.wide.get<float>(per_block + in_queries);
  Queries wide_q = q;
  wide_q.words = reinterpret_cast<const Word*>(wide + per_block);
  for (size_t i = 0; i < in_queries; i += 16)
    storeu(wide + per_block + i, load_bf16(reinterpret_cast<const uint16_t*>(q.words) + i));
  for (int key = 0; key < num_keys; key += KEYS)
    Tiles<Kv::WIDE>::all(wide_q, widened(block(key), q.head_dim, num_keys, wide));
}

// All keys of some queries; block(key) says where 64 of them lie, those behind the last too: what is
// worth fetching then.
template <bool BF, class Blocks>
void attend(Queries q, int num_keys, const Blocks& block, Scratchpad& pad) {
  constexpr int WORTH_WIDENING = 6;  // rows that share the work
  q.sums = pad.sums.get<float>(size_t(q.num_rows) * 16);
  std::fill(q.sums, q.sums + size_t(q.num_rows) * 16, 0.0f);
  if (BF && !HAS_BF16_DOT && q.num_rows >= WORTH_WIDENING) {
    attend_wide(q, num_keys, block, pad);
  } else {
    for (int key = 0; key < num_keys; key += KEYS) {
      KeyBlock b = block(key), next = block(key + KEYS);
      b.next = &next;
      Tiles<BF ? Kv::PAIRS : Kv::FLOATS>::all(q, b);
    }
  }
  for (int r = 0; r < q.num_rows; r++) q.totals[r] = reduce_add(load(q.sums + size_t(r) * 16));
}

}  // namespace teola
