// The largest column of each row of a product, found while its panels are computed: lm_head's logits
// of greedy rows are never stored.
//
// Panels of a row belong to several items of work. Each item keeps, for each of 16 lanes, the largest
// value and the run of 16 columns it stood in; `column` compares them at the end. The first of equals
// counts, so the order of the items does not matter. A NaN counts as infinity.
#pragma once

#include <cmath>

#include "packed.h"
#include "threads.h"

namespace teola {

class Likeliest {
 public:
  // Before a product of m rows whose items take `per_item` panels each.
  void begin(int num_items, int per_item, int m) {
    num_items_ = num_items, per_item_ = per_item, m_ = m;
    best_ = buffer_.get<Best>(size_t(num_items) * m);
  }

  // One panel of a row, its columns from 16 * run on: c0, c1, of which `left` columns count. An
  // item's panels come in ascending order.
  void see(int panel, int row, F16 c0, F16 c1, int left) {
    Best& best = best_[size_t(panel / per_item_) * m_ + row];
    F16 value = set1(-INFINITY);
    I16 run = zero_ints();
    if (panel % per_item_) value = load(best.value), run = load_ints(best.run);
    take(value, run, c0, 2 * panel, left);
    take(value, run, c1, 2 * panel + 1, left - 16);
    store(best.value, value);
    store_ints(best.run, run);
  }

  // The first of the row's largest columns; -1 where no largest one is finite.
  int64_t column(int row) const {
    float most = -INFINITY;
    int64_t first = -1;
    for (int item = 0; item < num_items_; item++) {
      const Best& best = best_[size_t(item) * m_ + row];
      for (int lane = 0; lane < 16; lane++) {
        const int64_t at = int64_t(best.run[lane]) * 16 + lane;
        if (best.value[lane] > most || (best.value[lane] == most && at < first))
          most = best.value[lane], first = at;
      }
    }
    return std::isfinite(most) ? first : -1;
  }

 private:
  struct alignas(64) Best {
    float value[16];
    int32_t run[16];
  };

  static void take(F16& value, I16& run, F16 c, int at, int left) {
    c = select(is_nan(c), set1(INFINITY), c);
    if (left < 16) c = select(first_lanes(left), c, set1(-INFINITY));
    const M16 is_more = greater(c, value);
    value = select(is_more, c, value);
    run = select(is_more, set1_int(uint32_t(at)), run);
  }

  Buffer buffer_;
  Best* best_ = nullptr;
  int num_items_ = 0, per_item_ = 1, m_ = 0;
};

}  // namespace teola
