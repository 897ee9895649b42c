// BERT's activations, 16 floats at a time.
#pragma once

#include "words.h"

namespace teola {

// As XLA and Eigen have it: a rational function, within 4e-7 of erf.
inline __m512 erf16(__m512 x) {
  x = _mm512_max_ps(_mm512_min_ps(x, _mm512_set1_ps(4.0f)), _mm512_set1_ps(-4.0f));
  const __m512 y = _mm512_mul_ps(x, x);
  __m512 p = _mm512_set1_ps(-2.72614225801306e-10f);
  p = _mm512_fmadd_ps(p, y, _mm512_set1_ps(2.77068142495902e-08f));
  p = _mm512_fmadd_ps(p, y, _mm512_set1_ps(-2.10102402082508e-06f));
  p = _mm512_fmadd_ps(p, y, _mm512_set1_ps(-5.69250639462346e-05f));
  p = _mm512_fmadd_ps(p, y, _mm512_set1_ps(-7.34990630326855e-04f));
  p = _mm512_fmadd_ps(p, y, _mm512_set1_ps(-2.95459980854025e-03f));
  p = _mm512_fmadd_ps(p, y, _mm512_set1_ps(-1.60960333262415e-02f));
  __m512 q = _mm512_set1_ps(-1.45660718464996e-05f);
  q = _mm512_fmadd_ps(q, y, _mm512_set1_ps(-2.13374055278905e-04f));
  q = _mm512_fmadd_ps(q, y, _mm512_set1_ps(-1.68282697438203e-03f));
  q = _mm512_fmadd_ps(q, y, _mm512_set1_ps(-7.37332916720468e-03f));
  q = _mm512_fmadd_ps(q, y, _mm512_set1_ps(-1.42647390514189e-02f));
  return _mm512_div_ps(_mm512_mul_ps(x, p), q);
}

inline __m512 gelu16(__m512 x) {
  const __m512 half = _mm512_mul_ps(x, _mm512_set1_ps(0.5f));
  return _mm512_fmadd_ps(half, erf16(_mm512_mul_ps(x, _mm512_set1_ps(0.70710678118654752f))), half);
}

// 0.5 x (1 + tanh u) is x / (1 + exp(-2 u)).
inline __m512 gelu_tanh16(__m512 x) {
  const __m512 cubic = _mm512_mul_ps(_mm512_mul_ps(x, x), _mm512_set1_ps(-2 * 0.7978845608f * 0.044715f));
  const __m512 u = _mm512_mul_ps(x, _mm512_add_ps(cubic, _mm512_set1_ps(-2 * 0.7978845608f)));
  return _mm512_div_ps(x, _mm512_add_ps(_mm512_set1_ps(1.0f), exp16(u)));
}

}  // namespace teola
