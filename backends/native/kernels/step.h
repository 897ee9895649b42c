// What the C side is told of a Llama-family model and of one step: the structures of `library.py`.
//
// Shapes: T rows of a step, E hidden size, H query heads, K KV heads, D head size, F MLP width.
#pragma once

#include "packed.h"

namespace teola {

extern "C" struct TeolaConfig {
  int32_t num_layers, hidden, num_heads, num_kv_heads, head_dim, width, vocab;
  int32_t is_bf16;
  float eps;
};

extern "C" struct TeolaLayer {
  const float* attention_norm;  // [E]
  Linear qkv, out;
  const float* mlp_norm;  // [E]
  Linear gate_up;         // columns interleaved: 16 of gate, 16 of up
  Linear down;
};

extern "C" struct TeolaSpan {
  int32_t start, end;  // rows
  int32_t num_keys;    // up to the last row's own
  int32_t page_start;  // into the list of pages
  int32_t adapter;     // into the step's adapters, or -1
  int32_t is_linked;   // keys and values behind the last row are there, or zero
};

// How much rows attend to each key: the sum of their weights over heads, and over layers from
// first_layer up to end_layer, is added to `mass`.
extern "C" struct TeolaLook {
  int32_t span, start, end;  // rows of the span
  int32_t first_layer, end_layer;
  float* mass;  // [num_keys of the span]
};

// What a LoRA adapter adds to a projection: b (a x). a.n == 0 where it adds nothing.
extern "C" struct TeolaDelta {
  Linear a, b;  // [r, K], [N, r]
};

extern "C" struct TeolaStep {
  int32_t num_rows, num_spans, num_logits, page_size;
  const int64_t* tokens;      // [T]
  const int64_t* positions;   // [T]
  const TeolaSpan* spans;
  const int32_t* pages;
  const int64_t* logit_rows;
  const float* cos;  // [positions, D / 2]
  const float* sin;
  uint8_t* kv;       // [L][2][P][page]
  int64_t num_pages;
  float* logits;     // of rows whose logits are wanted too, [.][V]
  const TeolaDelta* const* adapters;  // each [L][4]: qkv, out, gate_up, down
  const int32_t* logit_places;  // [R]: rows of `logits`, or -1
  int64_t* likeliest;           // [R]: written; -1 where the logits are not finite
  int32_t stop_layer;  // of it only keys and values are computed, and nothing after it; or the number
                       // of layers: all is
  int32_t num_looks;
  const TeolaLook* looks;
};

}  // namespace teola
