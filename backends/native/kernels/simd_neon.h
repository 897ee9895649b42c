// The vector layer on 64-bit ARM: four registers of 128 bits. See simd.h.
#pragma once

#include <arm_neon.h>

#include <cstdint>
#include <cstring>

namespace teola {

constexpr int REGISTERS = 8;  // of 16 floats each

struct F16 {
  float32x4_t a, b, c, d;
};

struct I16 {
  uint32x4_t a, b, c, d;
};

struct M16 {
  uint32x4_t a, b, c, d;  // a lane is all ones or all zeros
};

// fn on each quarter: Out {fn(x.a, ..), fn(x.b, ..), ..}.
template <class Out, class Fn, class... In>
inline Out each(const Fn& fn, const In&... x) {
  return {fn(x.a...), fn(x.b...), fn(x.c...), fn(x.d...)};
}

inline uint32x4_t first_of(int n) {
  const int32x4_t lanes = {0, 1, 2, 3};
  return vcgtq_s32(vdupq_n_s32(n), lanes);
}
inline M16 first_lanes(int n) { return {first_of(n), first_of(n - 4), first_of(n - 8), first_of(n - 12)}; }

// ---------------------------------------------------------------- floats

inline F16 set1(float x) { return {vdupq_n_f32(x), vdupq_n_f32(x), vdupq_n_f32(x), vdupq_n_f32(x)}; }
inline F16 zeros() { return set1(0.0f); }
inline F16 loadu(const float* p) {
  return {vld1q_f32(p), vld1q_f32(p + 4), vld1q_f32(p + 8), vld1q_f32(p + 12)};
}
inline F16 load(const float* p) { return loadu(p); }
inline F16 load_first(const float* p, int n) {
  if (n >= 16) return loadu(p);
  float some[16] = {};
  if (n > 0) std::memcpy(some, p, size_t(n) * 4);
  return loadu(some);
}
inline void storeu(float* p, F16 x) {
  vst1q_f32(p, x.a), vst1q_f32(p + 4, x.b), vst1q_f32(p + 8, x.c), vst1q_f32(p + 12, x.d);
}
inline void store(float* p, F16 x) { storeu(p, x); }
inline void store_first(float* p, F16 x, int n) {
  if (n >= 16) return storeu(p, x);
  float all[16];
  storeu(all, x);
  if (n > 0) std::memcpy(p, all, size_t(n) * 4);
}

inline F16 operator+(F16 x, F16 y) { return {x.a + y.a, x.b + y.b, x.c + y.c, x.d + y.d}; }
inline F16 operator-(F16 x, F16 y) { return {x.a - y.a, x.b - y.b, x.c - y.c, x.d - y.d}; }
inline F16 operator*(F16 x, F16 y) { return {x.a * y.a, x.b * y.b, x.c * y.c, x.d * y.d}; }
inline F16 operator/(F16 x, F16 y) { return {x.a / y.a, x.b / y.b, x.c / y.c, x.d / y.d}; }
inline F16 fma(F16 x, F16 y, F16 z) {
  return {vfmaq_f32(z.a, x.a, y.a), vfmaq_f32(z.b, x.b, y.b), vfmaq_f32(z.c, x.c, y.c),
          vfmaq_f32(z.d, x.d, y.d)};
}
inline F16 fnma(F16 x, F16 y, F16 z) {
  return {vfmsq_f32(z.a, x.a, y.a), vfmsq_f32(z.b, x.b, y.b), vfmsq_f32(z.c, x.c, y.c),
          vfmsq_f32(z.d, x.d, y.d)};
}

inline F16 select(M16 m, F16 yes, F16 no) {
  return {vbslq_f32(m.a, yes.a, no.a), vbslq_f32(m.b, yes.b, no.b), vbslq_f32(m.c, yes.c, no.c),
          vbslq_f32(m.d, yes.d, no.d)};
}
inline M16 greater(F16 x, F16 y) {
  return {vcgtq_f32(x.a, y.a), vcgtq_f32(x.b, y.b), vcgtq_f32(x.c, y.c), vcgtq_f32(x.d, y.d)};
}
inline M16 is_nan(F16 x) {
  auto nan = [](float32x4_t v) { return vmvnq_u32(vceqq_f32(v, v)); };
  return each<M16>(nan, x);
}

// As x86 has it: the second where one is NaN.
inline float32x4_t min4(float32x4_t x, float32x4_t y) { return vbslq_f32(vcltq_f32(x, y), x, y); }
inline float32x4_t max4(float32x4_t x, float32x4_t y) { return vbslq_f32(vcgtq_f32(x, y), x, y); }
inline F16 min(F16 x, F16 y) { return each<F16>(min4, x, y); }
inline F16 max(F16 x, F16 y) { return each<F16>(max4, x, y); }
inline F16 abs(F16 x) { return {vabsq_f32(x.a), vabsq_f32(x.b), vabsq_f32(x.c), vabsq_f32(x.d)}; }
inline F16 round_even(F16 x) {
  return {vrndnq_f32(x.a), vrndnq_f32(x.b), vrndnq_f32(x.c), vrndnq_f32(x.d)};
}

// In two factors, so that results below the normal numbers are rounded once.
inline float32x4_t scale2(float32x4_t x, float32x4_t n) {
  const int32x4_t all = vcvtnq_s32_f32(n), half = vshrq_n_s32(all, 1), bias = vdupq_n_s32(127);
  auto power = [&](int32x4_t i) { return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(i, bias), 23)); };
  return x * power(half) * power(vsubq_s32(all, half));
}
inline F16 scale2(F16 x, F16 n) {
  return {scale2(x.a, n.a), scale2(x.b, n.b), scale2(x.c, n.c), scale2(x.d, n.d)};
}

// The order of AVX-512's own reduction: halves onto halves.
inline float reduce_add(F16 x) {
  const float32x4_t four = (x.a + x.c) + (x.b + x.d);
  const float32x2_t two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
  return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
}
inline float reduce_max(F16 x) {
  return vmaxvq_f32(max4(max4(x.a, x.c), max4(x.b, x.d)));
}

// ---------------------------------------------------------------- ints of 32 bits

inline I16 set1_int(uint32_t x) {
  return {vdupq_n_u32(x), vdupq_n_u32(x), vdupq_n_u32(x), vdupq_n_u32(x)};
}
inline I16 zero_ints() { return set1_int(0); }
inline I16 loadu_ints(const void* p) {
  const uint32_t* w = static_cast<const uint32_t*>(p);
  return {vld1q_u32(w), vld1q_u32(w + 4), vld1q_u32(w + 8), vld1q_u32(w + 12)};
}
inline I16 load_ints(const void* p) { return loadu_ints(p); }
inline I16 load_ints_first(const void* p, int n) {
  if (n >= 16) return loadu_ints(p);
  uint32_t some[16] = {};
  if (n > 0) std::memcpy(some, p, size_t(n) * 4);
  return loadu_ints(some);
}
inline void storeu_ints(void* p, I16 x) {
  uint32_t* w = static_cast<uint32_t*>(p);
  vst1q_u32(w, x.a), vst1q_u32(w + 4, x.b), vst1q_u32(w + 8, x.c), vst1q_u32(w + 12, x.d);
}
inline void store_ints(void* p, I16 x) { storeu_ints(p, x); }

inline I16 operator+(I16 x, I16 y) { return {x.a + y.a, x.b + y.b, x.c + y.c, x.d + y.d}; }
inline I16 operator-(I16 x, I16 y) { return {x.a - y.a, x.b - y.b, x.c - y.c, x.d - y.d}; }
inline I16 operator&(I16 x, I16 y) { return {x.a & y.a, x.b & y.b, x.c & y.c, x.d & y.d}; }
inline I16 operator|(I16 x, I16 y) { return {x.a | y.a, x.b | y.b, x.c | y.c, x.d | y.d}; }
inline I16 shift_left(I16 x, int n) { return {x.a << n, x.b << n, x.c << n, x.d << n}; }
inline I16 shift_right(I16 x, int n) { return {x.a >> n, x.b >> n, x.c >> n, x.d >> n}; }

inline I16 shift_right_signed(I16 x, int n) {
  auto shifted = [n](uint32x4_t v) { return uint32x4_t(int32x4_t(v) >> n); };
  return each<I16>(shifted, x);
}
inline F16 as_floats(I16 x) {
  return each<F16>([](uint32x4_t v) { return vreinterpretq_f32_u32(v); }, x);
}
inline I16 as_ints(F16 x) {
  return each<I16>([](float32x4_t v) { return vreinterpretq_u32_f32(v); }, x);
}
inline F16 to_floats(I16 x) {
  return each<F16>([](uint32x4_t v) { return vcvtq_f32_s32(vreinterpretq_s32_u32(v)); }, x);
}
inline I16 to_ints(F16 x) {
  return each<I16>([](float32x4_t v) { return vreinterpretq_u32_s32(vcvtnq_s32_f32(v)); }, x);
}
inline I16 select(M16 m, I16 yes, I16 no) {
  return each<I16>([](auto mask, auto x, auto y) { return vbslq_u32(mask, x, y); }, m, yes, no);
}
inline int32_t reduce_add(I16 x) { return int32_t(vaddvq_u32(x.a + x.b + x.c + x.d)); }

inline void add_dot_shorts(uint32x4_t& sum, uint32x4_t x, uint32x4_t y) {
  const int16x8_t a = vreinterpretq_s16_u32(x), b = vreinterpretq_s16_u32(y);
  const int32x4_t low = vmull_s16(vget_low_s16(a), vget_low_s16(b));
  sum += vreinterpretq_u32_s32(vpaddq_s32(low, vmull_high_s16(a, b)));
  asm volatile("" : "+w"(sum));  // keeps the order of the code: see simd_avx2.h
}
inline void add_dot_shorts(I16& sum, I16 x, I16 y) {
  add_dot_shorts(sum.a, x.a, y.a), add_dot_shorts(sum.b, x.b, y.b);
  add_dot_shorts(sum.c, x.c, y.c), add_dot_shorts(sum.d, x.d, y.d);
}

// ---------------------------------------------------------------- narrower numbers

inline F16 load_halfs(const void* p) {
  auto four = [&](int i) {
    return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(static_cast<const uint16_t*>(p) + i)));
  };
  return {four(0), four(4), four(8), four(12)};
}
inline I16 load_bytes(const int8_t* p) {
  const int8x16_t all = vld1q_s8(p);
  const int16x8_t lo = vmovl_s8(vget_low_s8(all)), hi = vmovl_s8(vget_high_s8(all));
  auto wide = [](int16x4_t v) { return vreinterpretq_u32_s32(vmovl_s16(v)); };
  return {wide(vget_low_s16(lo)), wide(vget_high_s16(lo)), wide(vget_low_s16(hi)),
          wide(vget_high_s16(hi))};
}
inline int16x8_t narrow(uint32x4_t x, uint32x4_t y) {  // with saturation
  return vcombine_s16(vqmovn_s32(vreinterpretq_s32_u32(x)), vqmovn_s32(vreinterpretq_s32_u32(y)));
}
inline void store_shorts(int16_t* p, I16 x) {
  vst1q_s16(p, narrow(x.a, x.b)), vst1q_s16(p + 8, narrow(x.c, x.d));
}
inline void store_bytes(int8_t* p, I16 x) {
  vst1q_s8(p, vcombine_s8(vqmovn_s16(narrow(x.a, x.b)), vqmovn_s16(narrow(x.c, x.d))));
}
inline I16 load_u16(const void* p) {
  const uint16_t* h = static_cast<const uint16_t*>(p);
  return {vmovl_u16(vld1_u16(h)), vmovl_u16(vld1_u16(h + 4)), vmovl_u16(vld1_u16(h + 8)),
          vmovl_u16(vld1_u16(h + 12))};
}
inline I16 load_u16_first(const void* p, int n) {
  if (n >= 16) return load_u16(p);
  uint16_t some[16] = {};
  if (n > 0) std::memcpy(some, p, size_t(n) * 2);
  return load_u16(some);
}
inline void store_u16_first(void* p, I16 x, int n) {
  uint16_t all[16];
  vst1_u16(all, vmovn_u32(x.a)), vst1_u16(all + 4, vmovn_u32(x.b));
  vst1_u16(all + 8, vmovn_u32(x.c)), vst1_u16(all + 12, vmovn_u32(x.d));
  if (n > 0) std::memcpy(p, all, n >= 16 ? sizeof all : size_t(n) * 2);
}

inline float half_to_float(uint16_t x) {
  __fp16 half;
  std::memcpy(&half, &x, 2);
  return float(half);
}
inline uint16_t float_to_half(float x) {
  const __fp16 half = __fp16(x);
  uint16_t bits;
  std::memcpy(&bits, &half, 2);
  return bits;
}

#ifdef __ARM_FEATURE_BF16_VECTOR_ARITHMETIC
#define TEOLA_HAS_BF16_DOT 1
inline F16 dot_bf16(F16 sum, I16 x, I16 y) {
  auto dot = [](float32x4_t s, uint32x4_t a, uint32x4_t b) {
    return vbfdotq_f32(s, vreinterpretq_bf16_u32(a), vreinterpretq_bf16_u32(b));
  };
  return each<F16>(dot, sum, x, y);
}
inline void store_bf16(void* p, F16 x, int n = 16) {
  bfloat16_t all[16];
  vst1q_bf16(all, vcvtq_high_bf16_f32(vcvtq_low_bf16_f32(x.a), x.b));
  vst1q_bf16(all + 8, vcvtq_high_bf16_f32(vcvtq_low_bf16_f32(x.c), x.d));
  if (n > 0) std::memcpy(p, all, n >= 16 ? sizeof all : size_t(n) * 2);
}
#endif

// ---------------------------------------------------------------- the memory and the core

inline void hold(I16& x) { asm volatile("" : "+w"(x.a), "+w"(x.b), "+w"(x.c), "+w"(x.d)); }
inline void fetch_near(const void* p) { __builtin_prefetch(p, 0, 3); }
inline void fetch_far(const void* p) { __builtin_prefetch(p, 0, 2); }
inline void relax() { asm volatile("yield" ::: "memory"); }

}  // namespace teola
