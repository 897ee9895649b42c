// Inputs in bfloat16 times blocks of 4 or 8 bits.

#include "product.h"

namespace teola {

// out [R][32] = a [R][k words] x a panel of groups: each group's sum is scaled once; minima weigh the
// sums of the inputs. Up to 6 rows the running totals stay in registers; above they lie in `out`.
template <int R, class Source>
void tile_grouped(const Word* a, size_t lda, const float* sums, size_t ld_sums, const Source& from,
                  int num_groups, float* out) {
  constexpr bool in_registers = R <= 6;
  F16 c[in_registers ? R : 1][2];
  if constexpr (in_registers) {
    UNROLL for (int r = 0; r < R; r++) c[r][0] = c[r][1] = zeros();
  } else {
    UNROLL for (int r = 0; r < 2 * R; r++) store(out + r * 16, zeros());
  }
  for (int g = 0; g < num_groups; g++) {
    F16 s[R][2];
    UNROLL for (int r = 0; r < R; r++) s[r][0] = s[r][1] = zeros();
    if constexpr (R <= 2) from.fetch(g + 4);
    UNROLL for (int p = 0; p < 16; p++) {
      Pairs b0, b1;
      from.pair(g, p, b0, b1);
      UNROLL for (int r = 0; r < R; r++) {
        s[r][0] = mac<true>(s[r][0], a + r * lda + g * 16 + p, b0);
        s[r][1] = mac<true>(s[r][1], a + r * lda + g * 16 + p, b1);
      }
    }
    const uint8_t* at = from.scales(g);
    F16 d0 = load_halfs(at), d1 = load_halfs(at + 32), m0, m1;
    if (from.has_min) m0 = load_halfs(at + 64), m1 = load_halfs(at + 96);
    UNROLL for (int r = 0; r < R; r++) {
      float* total = out + r * PANEL;
      F16 c0, c1;
      if constexpr (in_registers) c0 = c[r][0], c1 = c[r][1];
      else c0 = load(total), c1 = load(total + 16);
      c0 = fma(d0, s[r][0], c0);
      c1 = fma(d1, s[r][1], c1);
      if (from.has_min) {
        F16 sum = set1(sums[r * ld_sums + g]);
        c0 = fma(m0, sum, c0);
        c1 = fma(m1, sum, c1);
      }
      if constexpr (in_registers) c[r][0] = c0, c[r][1] = c1;
      else store(total, c0), store(total + 16, c1);
    }
  }
  if constexpr (in_registers)
    UNROLL for (int r = 0; r < R; r++) {
      store(out + r * PANEL, c[r][0]);
      store(out + r * PANEL + 16, c[r][1]);
    }
}

// Rows of the widest tile. Expanded weights are as fast in small ones; beyond 8 rows, few registers
// gain nothing.
template <class Source>
constexpr int WIDEST = Source::is_expanded ? 6 : REGISTERS >= 32 ? 12 : 8;

constexpr int narrower(int rows) { return rows > 8 ? 8 : rows > 4 ? 4 : rows > 2 ? 2 : 1; }

// The widest tile of at most R rows that `left` rows fill; returns its rows.
template <int R, class Source>
int tile_of_rows(int left, const Word* a, const float* sums, const Source& from, int groups,
                 float* out) {
  if constexpr (R > 1)
    if (left < R) return tile_of_rows<narrower(R)>(left, a, sums, from, groups, out);
  tile_grouped<R>(a, size_t(groups) * GROUP / 2, sums, groups, from, groups, out);
  return R;
}

template <class Source>
void rows_grouped(const Product& p, const Linear& w, int panel, const Piece& piece,
                  const Source& from) {
  alignas(64) float tile[MAX_ROWS * PANEL];
  const int words = w.k / 2, groups = w.k / GROUP;
  for (int row = piece.begin, rows = 0; row < piece.end; row += rows) {
    const Word* a = p.a + size_t(row) * words;
    const float* sums = p.sums + size_t(row) * groups;
    rows = tile_of_rows<WIDEST<Source>>(piece.end - row, a, sums, from, groups, tile);
    finish<true>(p, w, panel, piece, row, rows, tile);
  }
}

template <class Direct>
void panel_of_blocks(const Product& p, const Linear& w, int panel, const Piece& piece) {
  Direct direct{panel_of(w, panel)};
  if (piece.end - piece.begin <= 2 * MAX_ROWS) {  // nibbles cost less to look up
    rows_grouped(p, w, panel, piece, direct);
    return;
  }
  Word* words = reinterpret_cast<Word*>(piece.expanded);
  expand(direct, w.k / GROUP, words);
  Scratch from{words, direct.panel, w.format == Q4 ? Q4_BYTES : Q8_BYTES, Direct::has_min};
  rows_grouped(p, w, panel, piece, from);
}

void panel_grouped(const Product& p, const Linear& w, int panel, const Piece& piece) {
  if (w.format == Q4) panel_of_blocks<DirectQ4>(p, w, panel, piece);
  else panel_of_blocks<DirectQ8>(p, w, panel, piece);
}

}  // namespace teola
