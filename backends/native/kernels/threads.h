// A thread pool for short phases, and memory that is kept between them.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <thread>
#include <vector>

#include "simd.h"

namespace teola {

// Items of a phase are claimed one by one, so a thread that the system took away delays only the
// item it holds. Workers spin for some microseconds between phases, then sleep.
class Pool {
 public:
  // Throws what the system says when it gives no more threads; those that started end before.
  explicit Pool(int num_threads) {
    try {
      for (int i = 1; i < num_threads; i++) threads_.emplace_back([this, i] { work(i); });
    } catch (...) {
      stop();
      throw;
    }
  }

  ~Pool() { stop(); }

  int size() const { return int(threads_.size()) + 1; }

  // fn(item, thread) for every item; returns when all are done.
  template <class Fn>
  void run(int num_items, const Fn& fn) {
    if (num_items <= 0) return;
    if (num_items == 1 || threads_.empty()) {
      for (int i = 0; i < num_items; i++) fn(i, 0);
      return;
    }
    call_ = [](const void* f, int item, int thread) {
      (*static_cast<const Fn*>(f))(item, thread);
    };
    fn_ = &fn;
    done_.store(0, std::memory_order_relaxed);
    state_.store(uint64_t(num_items) << 32, std::memory_order_release);
    epoch_.fetch_add(1, std::memory_order_release);
    if (sleeping_.load() > 0) epoch_.notify_all();
    claim(0);
    for (int spins = 0; done_.load(std::memory_order_acquire) < num_items; spins++) {
      if (spins > 1000) std::this_thread::yield();
      relax();
    }
    if (failed_.exchange(false)) throw std::bad_alloc();
  }

  // fn(begin, end) for parts of at least `least` of `num` rows, a few a thread.
  template <class Fn>
  void ranges(int num, int least, const Fn& fn) {
    const int n = std::max(1, std::min(num / least, 4 * size()));
    run(n, [&](int i, int) { fn(int(int64_t(num) * i / n), int(int64_t(num) * (i + 1) / n)); });
  }

 private:
  void stop() {
    stop_.store(true);
    epoch_.fetch_add(1);
    epoch_.notify_all();
    for (auto& thread : threads_) thread.join();
  }

  void claim(int thread) {
    while (true) {
      uint64_t state = state_.fetch_add(1, std::memory_order_acq_rel);
      uint32_t item = uint32_t(state), num_items = uint32_t(state >> 32);
      if (item >= num_items) return;
      try {
        call_(fn_, int(item), thread);
      } catch (...) {  // no memory: the phase still ends, and `run` throws
        failed_.store(true, std::memory_order_relaxed);
      }
      done_.fetch_add(1, std::memory_order_release);
    }
  }

  void work(int thread) {
    uint32_t seen = 0;
    while (true) {
      uint32_t now = epoch_.load(std::memory_order_acquire);
      for (int spins = 0; now == seen && spins < 2000; spins++) {
        relax();
        now = epoch_.load(std::memory_order_acquire);
      }
      if (now == seen) {
        sleeping_.fetch_add(1);
        epoch_.wait(seen);
        sleeping_.fetch_sub(1);
        now = epoch_.load(std::memory_order_acquire);
      }
      if (stop_.load()) return;
      seen = now;
      claim(thread);
    }
  }

  std::vector<std::thread> threads_;
  alignas(64) std::atomic<uint64_t> state_{0};  // number of items << 32 | next item
  alignas(64) std::atomic<int> done_{0};
  alignas(64) std::atomic<uint32_t> epoch_{0};
  std::atomic<int> sleeping_{0};
  std::atomic<bool> stop_{false};
  std::atomic<bool> failed_{false};  // an item of this phase threw
  void (*call_)(const void*, int, int) = nullptr;
  const void* fn_ = nullptr;
};

// Grows and never shrinks: a step's buffers come out of memory that the last step used.
struct Buffer {
  char* memory = nullptr;
  size_t size = 0;
  ~Buffer() { std::free(memory); }
  template <class T>
  T* get(size_t count) {
    size_t need = (count * sizeof(T) + 127) / 64 * 64;
    if (need > size) {
      std::free(memory);
      size = 0;
      const size_t roomy = (need + need / 4 + 63) / 64 * 64;
      memory = static_cast<char*>(std::aligned_alloc(64, roomy));
      if (!memory) throw std::bad_alloc();
      size = roomy;
    }
    return reinterpret_cast<T*>(memory);
  }
};

}  // namespace teola
