// BERT's activations, 16 floats at a time.
#pragma once

#include "words.h"

namespace teola {

// As XLA and Eigen have it: a rational function, within 4e-7 of erf.
inline F16 erf16(F16 x) {
  x = max(min(x, set1(4.0f)), set1(-4.0f));
  const F16 y = x * x;
  F16 p = set1(-2.72614225801306e-10f);
  p = fma(p, y, set1(2.77068142495902e-08f));
  p = fma(p, y, set1(-2.10102402082508e-06f));
  p = fma(p, y, set1(-5.69250639462346e-05f));
  p = fma(p, y, set1(-7.34990630326855e-04f));
  p = fma(p, y, set1(-2.95459980854025e-03f));
  p = fma(p, y, set1(-1.60960333262415e-02f));
  F16 q = set1(-1.45660718464996e-05f);
  q = fma(q, y, set1(-2.13374055278905e-04f));
  q = fma(q, y, set1(-1.68282697438203e-03f));
  q = fma(q, y, set1(-7.37332916720468e-03f));
  q = fma(q, y, set1(-1.42647390514189e-02f));
  return x * p / q;
}

inline F16 gelu16(F16 x) {
  const F16 half = x * set1(0.5f);
  return fma(half, erf16(x * set1(0.70710678118654752f)), half);
}

// 0.5 x (1 + tanh u) is x / (1 + exp(-2 u)).
inline F16 gelu_tanh16(F16 x) {
  const F16 cubic = x * x * set1(-2 * 0.7978845608f * 0.044715f);
  const F16 u = x * (cubic + set1(-2 * 0.7978845608f));
  return x / (set1(1.0f) + exp16(u));
}

}  // namespace teola
