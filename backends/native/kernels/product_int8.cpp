// Inputs quantised to 8 bits times blocks of 4 or 8 bits: see `product_int8.h` for the tiles.

#include "product.h"

namespace teola {

template <class Source>
void rows_int8(const Product& p, const Linear& w, int panel, const Piece& piece, const Source& from) {
  alignas(64) float tile[MAX_ROWS * PANEL];
  const Int8Rows a{const_cast<Word*>(p.a), w.k};
  for (int row = piece.begin; row < piece.end;) {
    fetch_outputs(p, w, panel, row, std::min(row + WIDEST_INT8, piece.end));
    const int rows = tile_int8(a, row, piece.end - row, p.is_fine, from, tile);
    finish<true>(p, w, panel, piece, row, rows, tile);
    row += rows;
  }
}

void panel_int8(const Product& p, const Linear& w, int panel, const Piece& piece) {
  const uint8_t* at = panel_of(w, panel);
  if (w.format == Q8_INT8) return rows_int8(p, w, panel, piece, Int8Q8{at});
  if (piece.end - piece.begin <= SPREAD_ROWS) return rows_int8(p, w, panel, piece, Int8Q4{at});
  uint8_t* groups = reinterpret_cast<uint8_t*>(piece.expanded);
  spread(Int8Q4{at}, w.k / GROUP, groups);
  rows_int8(p, w, panel, piece, Int8Spread{groups});
}

}  // namespace teola
