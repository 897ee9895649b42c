// What the cores can do at most: multiply-adds from registers and reads from memory.
// Compiled by `machine_limits.py` with the flags of one instruction set; prints one JSON object.
#include <immintrin.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

using Clock = std::chrono::steady_clock;

double since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

// The least seconds of several runs of fn(thread) on all threads at once.
template <class Fn>
double least_seconds(int num_threads, const Fn& fn) {
  double best = 1e9;
  for (int repeat = 0; repeat < 7; repeat++) {
    auto begin = Clock::now();
    std::vector<std::thread> others;
    for (int i = 1; i < num_threads; i++) others.emplace_back([&fn, i] { fn(i); });
    fn(0);
    for (auto& thread : others) thread.join();
    best = std::min(best, since(begin));
  }
  return best;
}

#if defined(__AVX512F__) && !defined(TEOLA_VECTOR_BITS)
constexpr int FLOATS = 16;
constexpr int CHAINS = 12;
using Vector = __m512;
using Integers = __m512i;
inline Vector fma(Vector a, Vector b, Vector c) { return _mm512_fmadd_ps(a, b, c); }
inline Vector all(float x) { return _mm512_set1_ps(x); }
inline Integers bytes(int x) { return _mm512_set1_epi8(char(x)); }
#ifdef __AVX512VNNI__
inline Integers dot(Integers sum, Integers a, Integers b) { return _mm512_dpbusd_epi32(sum, a, b); }
#else  // 16-bit sums of 4-bit by 8-bit products: widened once for eight of them
inline Integers dot(Integers sum, Integers a, Integers b) {
  return _mm512_add_epi16(sum, _mm512_maddubs_epi16(a, b));
}
#endif
inline Integers load(const char* at) { return _mm512_load_si512(at); }
inline Integers mix(Integers a, Integers b) { return _mm512_xor_si512(a, b); }
#else
constexpr int FLOATS = 8;
constexpr int CHAINS = 12;
using Vector = __m256;
using Integers = __m256i;
inline Vector fma(Vector a, Vector b, Vector c) { return _mm256_fmadd_ps(a, b, c); }
inline Vector all(float x) { return _mm256_set1_ps(x); }
inline Integers bytes(int x) { return _mm256_set1_epi8(char(x)); }
#ifdef __AVXVNNI__
inline Integers dot(Integers sum, Integers a, Integers b) {
  return _mm256_dpbusd_avx_epi32(sum, a, b);
}
#elif defined(__AVX512VNNI__)
inline Integers dot(Integers sum, Integers a, Integers b) { return _mm256_dpbusd_epi32(sum, a, b); }
#else
inline Integers dot(Integers sum, Integers a, Integers b) {
  return _mm256_add_epi16(sum, _mm256_maddubs_epi16(a, b));
}
#endif
inline Integers load(const char* at) {
  return _mm256_load_si256(reinterpret_cast<const __m256i*>(at));
}
inline Integers mix(Integers a, Integers b) { return _mm256_xor_si256(a, b); }
#endif

template <class T>
void keep(T& value) {
  asm volatile("" : "+m"(value));
}

constexpr int STEPS = 2000000;

void float_sums(int) {
  Vector sums[CHAINS];
  for (auto& sum : sums) sum = all(0.0f);
  Vector a = all(1.0f), b = all(0.5f);
  for (int i = 0; i < STEPS; i++) {
    asm volatile("" : "+v"(a), "+v"(b));
#pragma GCC unroll 24
    for (int j = 0; j < CHAINS; j++) sums[j] = fma(a, b, sums[j]);
  }
  for (auto& sum : sums) keep(sum);
}

void integer_sums(int) {
  Integers sums[CHAINS];
  for (auto& sum : sums) sum = bytes(0);
  Integers a = bytes(3), b = bytes(2);
  for (int i = 0; i < STEPS; i++) {
    asm volatile("" : "+v"(a), "+v"(b));
#pragma GCC unroll 24
    for (int j = 0; j < CHAINS; j++) sums[j] = dot(sums[j], a, b);
  }
  for (auto& sum : sums) keep(sum);
}

#ifdef __AVX512BF16__
void bfloat16_sums(int) {
  Vector sums[CHAINS];
  for (auto& sum : sums) sum = all(0.0f);
  __m512bh a = (__m512bh)bytes(1), b = (__m512bh)bytes(1);
  for (int i = 0; i < STEPS; i++) {
    asm volatile("" : "+v"(a), "+v"(b));
#pragma GCC unroll 24
    for (int j = 0; j < CHAINS; j++) sums[j] = _mm512_dpbf16_ps(sums[j], a, b);
  }
  for (auto& sum : sums) keep(sum);
}
#endif

int main(int, char** arguments) {
  const int threads = std::max(1, std::atoi(arguments[1]));
  const size_t per_thread = size_t(256) << 20;
  char* memory = static_cast<char*>(std::aligned_alloc(4096, per_thread * threads));
  std::memset(memory, 1, per_thread * threads);
  auto read = [&](int thread) {
    const char* at = memory + per_thread * thread;
    Integers sums[4] = {bytes(0), bytes(0), bytes(0), bytes(0)};
    for (size_t i = 0; i < per_thread; i += 4 * sizeof(Integers))
      for (int j = 0; j < 4; j++) sums[j] = mix(sums[j], load(at + i + j * sizeof(Integers)));
    for (auto& sum : sums) keep(sum);
  };
  const double operations = 2.0 * STEPS * CHAINS * threads;
  const double f32 = operations * FLOATS / least_seconds(threads, float_sums);
  const double i8 = operations * FLOATS * 4 / least_seconds(threads, integer_sums);
  double bf16 = 0;
#ifdef __AVX512BF16__
  bf16 = operations * FLOATS * 2 / least_seconds(threads, bfloat16_sums);
#endif
  const double bytes_s = double(per_thread) * threads / least_seconds(threads, read);
  std::printf("{\"float32_gflop_s\": %.1f, \"bfloat16_gflop_s\": %.1f, \"int8_gop_s\": %.1f, "
              "\"read_gb_s\": %.1f}\n", f32 / 1e9, bf16 / 1e9, i8 / 1e9, bytes_s / 1e9);
}
