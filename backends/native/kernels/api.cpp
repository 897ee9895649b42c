// What Python calls: see `library.py`.

#include <memory>

#include <sys/mman.h>

#include "bert.h"
#include "link.h"
#include "llama.h"

using namespace teola;

namespace {

struct AnyModel {
  std::unique_ptr<Pool> pool;
  std::unique_ptr<Model<false>> f32;
  std::unique_ptr<Model<true>> bf16;
  std::unique_ptr<LinkScratch> linking;
};

struct AnyBert {
  std::unique_ptr<Pool> pool;
  std::unique_ptr<Encoder> encoder;
};

std::unique_ptr<Encoder> make_encoder(const TeolaBertConfig& config, const TeolaBertLayer* layers,
                                      Pool& pool) {
  switch (config.inputs) {
    case AS_SHORT: return std::make_unique<Bert<AS_SHORT>>(config, layers, pool);
    case AS_BF16: return std::make_unique<Bert<AS_BF16>>(config, layers, pool);
    default: return std::make_unique<Bert<AS_FLOAT>>(config, layers, pool);
  }
}

}  // namespace

#pragma GCC visibility push(default)

extern "C" {

// Bit 0: an instruction for products in bfloat16; without it they are computed as float32's.
int32_t teola_features() { return HAS_BF16_DOT ? 1 : 0; }

int64_t teola_packed_bytes(int32_t format, int64_t n, int64_t k) {
  return int64_t(panel_bytes(format, k)) * ((n + PANEL - 1) / PANEL);
}

void teola_advise(void* memory, int64_t num_bytes) {
#ifdef MADV_HUGEPAGE
  uintptr_t begin = (uintptr_t(memory) + 4095) & ~uintptr_t(4095);
  uintptr_t end = (uintptr_t(memory) + num_bytes) & ~uintptr_t(4095);
  if (end > begin) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#endif
}

// Columns `at`..`at + n` of a panelled matrix from rows of w [n][k] float32. `at` and n count output
// features; `stride` 1 packs them side by side, 2 leaves every other run of 16 free (gate and up).
void teola_pack(int32_t format, int64_t n, int64_t k, const float* w, int64_t at, int32_t stride,
                uint8_t* out) {
  const size_t per_panel = panel_bytes(format, k);
  for (int64_t i = 0; i < n; i++) {
    int64_t to = stride == 1 ? at + i : at + i / 16 * 32 + i % 16;
    uint8_t* panel = out + per_panel * (to / PANEL);
    const int lane = int(to % PANEL);
    const float* row = w + i * k;
    if (format == SHORTS) {
      pack_shorts(row, k, lane, panel);
    } else if (format == F32) {
      float* p = reinterpret_cast<float*>(panel) + lane;
      for (int64_t j = 0; j < k; j++) p[j * PANEL] = row[j];
    } else {
      uint16_t* p = reinterpret_cast<uint16_t*>(panel) + lane * 2;
      for (int64_t j = 0; j < k; j++) p[j / 2 * PANEL * 2 + j % 2] = to_bf16(row[j]);
    }
  }
}

// The same from GGUF blocks: Q8_0 (half d, 32 int8), Q4_1 (half d, half m, 16 bytes: weight i is the
// low half of byte i, weight i + 16 the high half), Q4_0 (half d, 16 bytes, whose m is -8 d).
void teola_pack_blocks(int32_t format, int32_t is_q4_0, int64_t n, int64_t k, const uint8_t* w,
                       int64_t at, int32_t stride, uint8_t* out) {
  const size_t per_panel = panel_bytes(format, k);
  const bool is_q8 = format == Q8 || format == Q8_INT8;
  const size_t block = is_q8 ? 34 : is_q4_0 ? 18 : 20;
  for (int64_t i = 0; i < n; i++) {
    int64_t to = stride == 1 ? at + i : at + i / 16 * 32 + i % 16;
    uint8_t* panel = out + per_panel * (to / PANEL);
    const int lane = int(to % PANEL);
    for (int64_t g = 0; g < k / GROUP; g++) {
      const uint8_t* from = w + (i * (k / GROUP) + g) * block;
      if (is_q8) {
        uint8_t* p = panel + g * Q8_BYTES;
        std::memcpy(p + lane * 2, from, 2);
        if (format == Q8_INT8) {
          const QuadGroup group(panel, int(g), true);
          for (int j = 0; j < GROUP; j++) p[group.place(lane, j)] = from[2 + j] ^ 0x80;
          continue;
        }
        for (int j = 0; j < GROUP; j++) p[64 + (j / 2) * 64 + lane * 2 + j % 2] = from[2 + j];
        continue;
      }
      uint8_t* p = panel + g * Q4_BYTES;
      std::memcpy(p + lane * 2, from, 2);
      uint16_t m;
      if (is_q4_0) m = float_to_half(-8.0f * half_to_float(*(const uint16_t*)from));
      else std::memcpy(&m, from + 2, 2);
      std::memcpy(p + 64 + lane * 2, &m, 2);
      const uint8_t* bytes = from + (is_q4_0 ? 2 : 4);
      if (format == Q4_INT8) {  // nibbles stand as the file has them
        const QuadGroup group(panel, int(g), false);
        for (int j = 0; j < 16; j++) p[group.place(lane, j)] = bytes[j];
        continue;
      }
      uint32_t* q = reinterpret_cast<uint32_t*>(p + 128);
      for (int word = 0; word < 4; word++) {
        uint32_t x = 0;
        for (int j = 0; j < 8; j++) {
          int weight = word * 8 + j;
          uint32_t nibble = weight < 16 ? bytes[weight] & 15 : bytes[weight - 16] >> 4;
          x |= nibble << (4 * (j / 2) + 16 * (j % 2));
        }
        q[word * PANEL + lane] = x;
      }
    }
  }
}

// One output feature's weights, as float32 [k].
void teola_unpack(const Linear* w, int32_t feature, float* out) { column(*w, feature, out); }

void* teola_model_create(const TeolaConfig* config, const TeolaLayer* layers, const float* norm,
                         const Linear* head, const Linear* embedding, int32_t num_threads) {
  try {
    auto model = std::make_unique<AnyModel>();
    model->pool = std::make_unique<Pool>(std::max(1, num_threads));
    model->linking = std::make_unique<LinkScratch>(model->pool->size());
    if (config->is_bf16)
      model->bf16 = std::make_unique<Model<true>>(*config, layers, norm, *head, *embedding,
                                                  *model->pool);
    else
      model->f32 = std::make_unique<Model<false>>(*config, layers, norm, *head, *embedding,
                                                  *model->pool);
    return model.release();
  } catch (...) {
    return nullptr;
  }
}

void teola_model_free(void* model) { delete static_cast<AnyModel*>(model); }

// 0, or 1 when memory ran out.
int32_t teola_forward(void* model, const TeolaStep* step) {
  try {
    auto* m = static_cast<AnyModel*>(model);
    if (m->bf16) m->bf16->forward(*step);
    else m->f32->forward(*step);
    return 0;
  } catch (...) {
    return 1;
  }
}

// 0, or 1 when memory ran out.
int32_t teola_link(void* model, const TeolaLink* what) {
  try {
    auto* m = static_cast<AnyModel*>(model);
    if (m->bf16) teola::link<true>(*what, *m->pool, *m->linking);
    else teola::link<false>(*what, *m->pool, *m->linking);
    return 0;
  } catch (...) {
    return 1;
  }
}

void* teola_bert_create(const TeolaBertConfig* config, const TeolaBertLayer* layers,
                        int32_t num_threads) {
  try {
    auto bert = std::make_unique<AnyBert>();
    bert->pool = std::make_unique<Pool>(std::max(1, num_threads));
    bert->encoder = make_encoder(*config, layers, *bert->pool);
    return bert.release();
  } catch (...) {
    return nullptr;
  }
}

void teola_bert_free(void* bert) { delete static_cast<AnyBert*>(bert); }

// 0, or 1 when memory ran out.
int32_t teola_bert_encode(void* bert, const TeolaTexts* texts) {
  try {
    static_cast<AnyBert*>(bert)->encoder->encode(*texts);
    return 0;
  } catch (...) {
    return 1;
  }
}

// out [m][n] = a [m][k] w + bias, all float32: the head of a classifier, and one product alone. int8
// weights have their inputs quantised as behind a norm.
void teola_multiply(const Linear* w, const float* a, int32_t m, float* out) {
  Pool alone(1);
  std::vector<Buffer> scratch(1);
  Product p{reinterpret_cast<const Word*>(a), m, nullptr, STORE, out, nullptr, nullptr};
  if (!is_int8(w->format)) return multiply<false>(alone, scratch, p, *w);
  Buffer rows;
  const Int8Rows quantised{rows.get<Word>(int8_row_words(w->k) * m), w->k};
  for (int row = 0; row < m; row++)
    quantise_row(quantised[row], w->k, [&](int i) { return loadu(a + size_t(row) * w->k + i); });
  p.a = quantised.first;
  p.is_fine = true;
  multiply<true>(alone, scratch, p, *w);
}

}  // extern "C"

#pragma GCC visibility pop
