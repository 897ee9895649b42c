// Checks the kernels of one instruction set against plain loops in double precision, and against
// themselves: a row has the same bits alone, in a batch, in chunks and on pages full of NaN.
// Prints what differs; exits with the number of failures.

#include <algorithm>
#include <cstdio>
#include <numeric>
#include <random>
#include <tuple>

#include "api.cpp"
#include "product_grouped.cpp"
#include "product_int8.cpp"

using namespace teola;

namespace {

int failures = 0;

void expect(bool holds, const char* what, int which = 0) {
  if (holds) return;
  std::printf("FAILED: %s (%d)\n", what, which);
  failures++;
}

std::mt19937 rng(1);

float random_float(float spread = 1.0f) {
  return std::normal_distribution<float>(0.0f, spread)(rng);
}

std::vector<float> random_floats(size_t count, float spread = 1.0f) {
  std::vector<float> out(count);
  for (float& x : out) x = random_float(spread);
  return out;
}

double distance(const std::vector<float>& a, const std::vector<double>& b) {
  double apart = 0, size = 0;
  for (size_t i = 0; i < b.size(); i++) apart += (a[i] - b[i]) * (a[i] - b[i]), size += b[i] * b[i];
  return std::sqrt(apart / size);
}

struct Lines {  // zeroed memory on cache lines
  explicit Lines(size_t num_bytes)
      : bytes(static_cast<uint8_t*>(std::aligned_alloc(64, (num_bytes + 4095) / 64 * 64))) {
    std::memset(bytes, 0, (num_bytes + 4095) / 64 * 64);
  }
  uint8_t* bytes;
};

// A matrix [n][k] in panels, and the values it stands for.
struct Matrix {
  Linear linear;
  std::vector<double> values;

  Matrix(int format, int n, int k, bool is_gate_up = false) {
    Lines memory(teola_packed_bytes(format, n, k) + 4096);
    const int parts = is_gate_up ? 2 : 1;
    for (int i = 0; i < parts; i++) fill(format, n / parts, k, 16 * i, parts, memory.bytes);
    linear = Linear{format, n, k, memory.bytes, nullptr};
    std::vector<float> row(k);
    for (int feature = 0; feature < n; feature++) {
      teola_unpack(&linear, feature, row.data());
      values.insert(values.end(), row.begin(), row.end());
    }
  }

  static void fill(int format, int n, int k, int at, int stride, uint8_t* out) {
    if (format == F32 || format == BF16) {
      const auto rows = random_floats(size_t(n) * k, 0.15f);
      return teola_pack(format, n, k, rows.data(), at, stride, out);
    }
    const bool is_q8 = format == Q8 || format == Q8_INT8;
    const size_t block = is_q8 ? 34 : 20;
    std::vector<uint8_t> blocks(size_t(n) * k / GROUP * block);
    for (uint8_t& byte : blocks) byte = uint8_t(rng());
    for (size_t i = 0; i < blocks.size(); i += block) {
      const uint16_t scale = float_to_half(is_q8 ? 0.002f : 0.03f);
      const uint16_t least = float_to_half(-0.2f);
      std::memcpy(&blocks[i], &scale, 2);
      if (!is_q8) std::memcpy(&blocks[i + 2], &least, 2);
    }
    teola_pack_blocks(format, 0, n, k, blocks.data(), at, stride, out);
  }

  std::vector<double> times(const std::vector<double>& a, int m) const {
    const int n = linear.n, k = linear.k;
    std::vector<double> out(size_t(m) * n);
    for (int r = 0; r < m; r++)
      for (int i = 0; i < n; i++)
        for (int j = 0; j < k; j++) out[size_t(r) * n + i] += a[size_t(r) * k + j] * values[size_t(i) * k + j];
    return out;
  }
};

// ---------------------------------------------------------------- the vector layer

void check_lanes() {
  alignas(64) float in[16], out[17];
  for (float& x : in) x = random_float();
  for (int n = -1; n <= 17; n++) {
    const int kept = std::clamp(n, 0, 16);
    store(out, load_first(in, n));
    for (int i = 0; i < 16; i++) expect(out[i] == (i < kept ? in[i] : 0.0f), "load_first", n);
    for (float& x : out) x = 7.0f;
    store_first(out, load(in), n);
    for (int i = 0; i < 16; i++) expect(out[i] == (i < kept ? in[i] : 7.0f), "store_first", n);
    uint16_t halfs[17] = {};
    store_bf16(halfs, load(in), n);
    for (int i = 0; i < 17; i++)
      expect(halfs[i] == (i < kept ? to_bf16(in[i]) : 0), "store_bf16", n);
  }
  double sum = 0;
  for (float x : in) sum += x;
  expect(std::fabs(reduce_add(load(in)) - sum) < 1e-5, "reduce_add");
  expect(reduce_max(load(in)) == *std::max_element(in, in + 16), "reduce_max");
  for (uint32_t bits = 0; bits < 65536; bits++)
    if ((bits & 0x7c00) != 0x7c00)
      expect(float_to_half(half_to_float(uint16_t(bits))) == bits, "half precision", int(bits));
}

void check_functions() {
  alignas(64) float in[16], out[16];
  for (float x = -100.0f; x < 87.0f; x += 1.37f) {
    for (int i = 0; i < 16; i++) in[i] = x + 0.05f * i;
    store(out, exp16(load(in)));
    for (int i = 0; i < 16; i++) {
      const double exact = std::exp(double(in[i]));
      expect(std::fabs(out[i] - exact) < 3e-7 * exact + 2e-45, "exp16", int(x));
    }
    store(out, gelu16(load(in)));
    for (int i = 0; i < 16; i++) {
      const double exact = 0.5 * in[i] * (1 + std::erf(in[i] * 0.70710678118654752));
      expect(std::fabs(out[i] - exact) < 1e-6 * (1 + std::fabs(in[i])), "gelu16", int(x));
    }
  }
}

// ---------------------------------------------------------------- products

template <bool BF>
void check_product(int format) {
  const int n = 70, k = 96, most = 40;
  const Matrix w(format, n, k);
  Pool pool(2);
  std::vector<Buffer> scratch(pool.size());
  Lines words(size_t(most) * k * 4 + 64);
  Word* a = reinterpret_cast<Word*>(words.bytes);
  std::vector<double> inputs;
  for (int i = 0; i < most * k; i++) {
    const float x = random_float();
    if (BF) reinterpret_cast<uint16_t*>(a)[i] = to_bf16(x);
    else std::memcpy(a + i, &x, 4);
    inputs.push_back(BF ? from_bf16(to_bf16(x)) : x);
  }
  std::vector<float> sums(size_t(most) * k / GROUP), all(size_t(most) * n), some(all.size());
  if (BF) sum_groups(a, most, k, sums.data());
  auto run = [&](int row, int m, float* out) {
    const Product p{a + size_t(row) * k / (BF ? 2 : 1), m, sums.data() + size_t(row) * k / GROUP,
                    STORE, out, nullptr, nullptr};
    multiply<BF>(pool, scratch, p, w.linear);
  };
  run(0, most, all.data());
  expect(distance(all, w.times(inputs, most)) < 2e-6, "product", format);
  for (int m : {1, 2, 3, 4, 5, 7, 9, 13, 25}) {
    run(3, m, some.data());
    expect(!std::memcmp(some.data(), &all[size_t(3) * n], size_t(m) * n * 4), "rows of a product", m);
  }
}

// A row's inputs as int8 products take them: groups of 32 in steps of their largest / 127, and once
// more what is left of groups whose squared step is above three means.
void quantise(double* x, int k) {
  std::vector<double> steps;
  for (int g = 0; g < k; g += GROUP) {
    double most = 0;
    for (int i = g; i < g + GROUP; i++) most = std::max(most, std::fabs(x[i]));
    steps.push_back(most / 127);
  }
  const double mean = std::inner_product(steps.begin(), steps.end(), steps.begin(), 0.0) / steps.size();
  for (int i = 0; i < k; i++) {
    const double step = steps[i / GROUP], rest_step = step / 254;
    if (step == 0) continue;
    double near = std::nearbyint(x[i] / step) * step;
    if (step * step > 3 * mean) near += std::nearbyint((x[i] - near) / rest_step) * rest_step;
    x[i] = near;
  }
}

std::vector<float> outlying_rows(int m, int k) {
  std::vector<float> rows = random_floats(size_t(m) * k);
  for (int row = 0; row < m; row++) rows[size_t(row) * k + 3] *= 40;  // a channel whose group is fine
  std::fill(rows.end() - GROUP, rows.end(), 0.0f);
  return rows;
}

void check_int8_product(int format) {
  const int n = 70, k = 544, most = 70;  // beyond 64 rows, weights are spread
  const Matrix w(format, n, k);
  const std::vector<float> rows = outlying_rows(most, k);
  std::vector<double> inputs(rows.begin(), rows.end());
  for (int row = 0; row < most; row++) quantise(&inputs[size_t(row) * k], k);
  std::vector<float> all(size_t(most) * n), some(all.size());
  teola_multiply(&w.linear, rows.data(), most, all.data());
  expect(distance(all, w.times(inputs, most)) < 2e-6, "an int8 product", format);
  for (int m : {1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 25}) {
    teola_multiply(&w.linear, &rows[size_t(3) * k], m, some.data());
    expect(!std::memcmp(some.data(), &all[size_t(3) * n], size_t(m) * n * 4), "rows in int8", m);
  }
}

// Numbers of one scale, as 14 bits hold them.
void round_shorts(double* x, int count) {
  double most = 0;
  for (int i = 0; i < count; i++) most = std::max(most, std::fabs(x[i]));
  for (int i = 0; i < count && most > 0; i++) x[i] = std::nearbyint(x[i] / most * 8191) * most / 8191;
}

void check_short_product() {
  const int n = 70, k = 100, most = 40, groups = num_groups(k);  // the last group is not full
  const std::vector<float> weights = random_floats(size_t(n) * k), rows = outlying_rows(most, k);
  Lines panels(teola_packed_bytes(SHORTS, n, k)), words(size_t(most) * groups * GROUP * 2);
  std::vector<float> scales(size_t(most) * groups);
  teola_pack(SHORTS, n, k, weights.data(), 0, 1, panels.bytes);
  const Linear linear{SHORTS, n, k, panels.bytes, nullptr};
  const ShortRows rounded{reinterpret_cast<Word*>(words.bytes), scales.data(), most, groups};
  for (int row = 0; row < most; row++) round_row(&rows[size_t(row) * k], k, rounded, row);
  std::vector<double> a(rows.begin(), rows.end()), b(weights.begin(), weights.end());
  for (int row = 0; row < most; row++)
    for (int g = 0; g < groups; g++)
      round_shorts(&a[size_t(row) * k + g * GROUP], std::min(GROUP, k - g * GROUP));
  for (int i = 0; i < n; i++) round_shorts(&b[size_t(i) * k], k);
  std::vector<double> exact(size_t(most) * n);
  for (int r = 0; r < most; r++)
    for (int i = 0; i < n; i++)
      for (int j = 0; j < k; j++) exact[size_t(r) * n + i] += a[size_t(r) * k + j] * b[size_t(i) * k + j];
  Pool pool(2);
  std::vector<float> all(size_t(most) * n), some(all.size());
  multiply_shorts(pool, {rounded, most, STORE, all.data(), {}}, linear);
  expect(distance(all, exact) < 2e-6, "an int16 product");
  for (int m : {1, 2, 3, 5, 6, 7, 13, 25}) {
    const ShortRows from{rounded.words + 3 * (GROUP / 2), &scales[3], most, groups};
    multiply_shorts(pool, {from, m, STORE, some.data(), {}}, linear);
    expect(!std::memcmp(some.data(), &all[size_t(3) * n], size_t(m) * n * 4), "rows in int16", m);
  }
}

// ---------------------------------------------------------------- a model

constexpr int LAYERS = 2, E = 64, H = 4, K = 2, D = 16, WIDTH = 96, VOCAB = 50, PAGE = 32;

struct TestModel {
  std::vector<Matrix> qkv, out, gate_up, down;
  Matrix embedding, head;
  std::vector<float> norms, cos, sin;

  TestModel(int full, int stored) : embedding(full, VOCAB, E), head(stored, VOCAB, E) {
    for (int l = 0; l < LAYERS; l++) {
      qkv.emplace_back(stored, (H + 2 * K) * D, E);
      out.emplace_back(is_int8(stored) ? full : stored, E, H * D);  // a head is no group of 32
      gate_up.emplace_back(stored, 2 * WIDTH, E, true);
      down.emplace_back(stored, E, WIDTH);
    }
    norms = random_floats(size_t(E) * (2 * LAYERS + 1), 0.2f);
    for (float& x : norms) x += 1.0f;
    for (int position = 0; position < 512; position++)
      for (int i = 0; i < D / 2; i++) {
        const double angle = position * std::pow(10000.0, -2.0 * i / D);
        cos.push_back(float(std::cos(angle))), sin.push_back(float(std::sin(angle)));
      }
  }

  void* create(bool is_bf16) const {
    TeolaConfig config{LAYERS, E, H, K, D, WIDTH, VOCAB, is_bf16, 1e-5f};
    TeolaLayer layers[LAYERS];
    for (int l = 0; l < LAYERS; l++)
      layers[l] = TeolaLayer{&norms[size_t(2 * l) * E], qkv[l].linear, out[l].linear,
                             &norms[size_t(2 * l + 1) * E], gate_up[l].linear, down[l].linear};
    return teola_model_create(&config, layers, &norms[size_t(2 * LAYERS) * E], &head.linear,
                              &embedding.linear, 2);
  }

  static std::vector<double> normed(const std::vector<double>& x, const float* weight) {
    std::vector<double> y(x.size());
    for (size_t row = 0; row < x.size(); row += E) {
      double squares = 0;
      for (int i = 0; i < E; i++) squares += x[row + i] * x[row + i];
      for (int i = 0; i < E; i++) y[row + i] = x[row + i] / std::sqrt(squares / E + 1e-5) * weight[i];
    }
    return y;
  }

  void rotate(double* x, int position) const {
    for (int i = 0; i < D / 2; i++) {
      const double c = cos[size_t(position) * D / 2 + i], s = sin[size_t(position) * D / 2 + i];
      const double lo = x[i], hi = x[i + D / 2];
      x[i] = lo * c - hi * s, x[i + D / 2] = hi * c + lo * s;
    }
  }

  std::vector<double> attended(std::vector<double>& rows, int T) const {
    const int stride = (H + 2 * K) * D;
    std::vector<double> y(size_t(T) * H * D);
    for (int t = 0; t < T; t++)
      for (int h = 0; h < H + K; h++) rotate(&rows[size_t(t) * stride + h * D], t);
    for (int t = 0; t < T; t++)
      for (int h = 0; h < H; h++) {
        const double* q = &rows[size_t(t) * stride + h * D];
        std::vector<double> weights;
        double total = 0;
        for (int u = 0; u <= t; u++) {
          const double* k = &rows[size_t(u) * stride + (H + h / (H / K)) * D];
          double score = 0;
          for (int i = 0; i < D; i++) score += q[i] * k[i];
          weights.push_back(std::exp(score / std::sqrt(double(D))));
          total += weights.back();
        }
        for (int u = 0; u <= t; u++)
          for (int i = 0; i < D; i++)
            y[(size_t(t) * H + h) * D + i] += weights[u] / total *
                rows[size_t(u) * stride + (H + K + h / (H / K)) * D + i];
      }
    return y;
  }

  std::vector<double> logits(const std::vector<int64_t>& tokens) const {
    const int T = int(tokens.size());
    std::vector<double> x;
    for (int64_t token : tokens)
      x.insert(x.end(), &embedding.values[token * E], &embedding.values[token * E] + E);
    auto add = [&](const std::vector<double>& y) { for (size_t i = 0; i < x.size(); i++) x[i] += y[i]; };
    for (int l = 0; l < LAYERS; l++) {
      auto rows = qkv[l].times(normed(x, &norms[size_t(2 * l) * E]), T);
      add(out[l].times(attended(rows, T), T));
      const auto both = gate_up[l].times(normed(x, &norms[size_t(2 * l + 1) * E]), T);
      std::vector<double> h(size_t(T) * WIDTH);
      for (size_t i = 0; i < h.size(); i++) {
        const size_t at = i / WIDTH * 2 * WIDTH + i % WIDTH / 16 * 32 + i % 16;
        h[i] = both[at] / (1 + std::exp(-both[at])) * both[at + 16];
      }
      add(down[l].times(h, T));
    }
    return head.times(normed(x, &norms[size_t(2 * LAYERS) * E]), T);
  }
};

// Rows [begin, end) of texts, each text on pages of its own.
struct Part {
  int text, begin, end;
};

class Runner {
 public:
  Runner(const TestModel& model, bool is_bf16, std::vector<std::vector<int64_t>> texts, uint8_t fill)
      : model_(model), handle_(model.create(is_bf16)), texts_(std::move(texts)),
        kv_(kv_bytes(is_bf16)) {
    std::memset(kv_.bytes, fill, kv_bytes(is_bf16));
  }
  ~Runner() { teola_model_free(handle_), std::free(kv_.bytes); }

  std::vector<float> run(const std::vector<Part>& parts) {
    std::vector<int64_t> tokens, positions, wanted;
    std::vector<TeolaSpan> spans;
    std::vector<int32_t> pages;
    for (const Part& part : parts) {
      spans.push_back({int(tokens.size()), int(tokens.size()) + part.end - part.begin, part.end,
                       int(pages.size()), -1, 0});
      for (int i = 0; i < PAGES; i++) pages.push_back((part.text * PAGES + i) * 7 % num_pages());
      for (int at = part.begin; at < part.end; at++) {
        wanted.push_back(int64_t(tokens.size()));
        tokens.push_back(texts_[part.text][at]), positions.push_back(at);
      }
    }
    std::vector<float> logits(tokens.size() * VOCAB);
    std::vector<int32_t> places(tokens.size());
    std::iota(places.begin(), places.end(), 0);
    std::vector<int64_t> likeliest(tokens.size());
    TeolaStep step{};
    step.num_rows = step.num_logits = int(tokens.size());
    step.num_spans = int(spans.size());
    step.page_size = PAGE, step.stop_layer = LAYERS;
    step.tokens = tokens.data(), step.positions = positions.data();
    step.spans = spans.data(), step.pages = pages.data(), step.logit_rows = wanted.data();
    step.cos = model_.cos.data(), step.sin = model_.sin.data();
    step.kv = kv_.bytes, step.num_pages = num_pages(), step.logits = logits.data();
    step.logit_places = places.data(), step.likeliest = likeliest.data();
    expect(teola_forward(handle_, &step) == 0, "a step");
    for (size_t row = 0; row < tokens.size(); row++) {
      const float* first = &logits[row * VOCAB];
      const bool is_finite = std::all_of(first, first + VOCAB, [](float x) { return std::isfinite(x); });
      if (is_finite)
        expect(likeliest[row] == std::max_element(first, first + VOCAB) - first, "the likeliest");
    }
    return logits;
  }

 private:
  static constexpr int PAGES = 7;  // of a text
  int num_pages() const { return PAGES * 3 + 1; }
  size_t kv_bytes(bool is_bf16) const {
    return size_t(LAYERS) * 2 * num_pages() * PAGE * K * D * (is_bf16 ? 2 : 4);
  }

  const TestModel& model_;
  void* handle_;
  std::vector<std::vector<int64_t>> texts_;
  Lines kv_;
};

std::vector<int64_t> random_text(int length) {
  std::vector<int64_t> text(length);
  for (int64_t& token : text) token = rng() % VOCAB;
  return text;
}

void same_bits(const float* a, const float* b, int rows, const char* what) {
  expect(!std::memcmp(a, b, size_t(rows) * VOCAB * 4), what, rows);
}

void check_model(bool is_bf16, int full, int stored, double allowed) {
  const TestModel model(full, stored);
  const std::vector<std::vector<int64_t>> texts{random_text(150), random_text(1), random_text(67)};
  std::vector<std::vector<float>> alone;
  for (const auto& text : texts) {
    Runner runner(model, is_bf16, {text}, 0);
    alone.push_back(runner.run({{0, 0, int(text.size())}}));
    expect(distance(alone.back(), model.logits(text)) < allowed, "logits of a step", stored);
  }
  for (uint8_t fill : {uint8_t(0), uint8_t(0xff)}) {  // 0xff: each slot is NaN
    const char* what = fill ? "bits on pages of NaN" : "bits in a batch";
    Runner runner(model, is_bf16, texts, fill);
    const auto batch = runner.run({{1, 0, 1}, {0, 0, 150}, {2, 0, 67}});
    same_bits(&batch[0], alone[1].data(), 1, what);
    same_bits(&batch[VOCAB], alone[0].data(), 150, what);
    same_bits(&batch[151 * VOCAB], alone[2].data(), 67, what);
  }
  Runner runner(model, is_bf16, texts, 0xff);
  int at = 0;
  for (int end : {1, 2, 17, 20, 64, 65, 67}) {  // beside chunks of another text
    const auto found = runner.run({{2, at, end}, {0, 2 * at, 2 * end}});
    same_bits(found.data(), &alone[2][size_t(at) * VOCAB], end - at, "bits in chunks");
    same_bits(&found[size_t(end - at) * VOCAB], &alone[0][size_t(2 * at) * VOCAB], 2 * (end - at),
              "bits in chunks");
    at = end;
  }
}

// ---------------------------------------------------------------- KV linked to other places

// Where dimension d of a token's key or value lies: in halves of words where BF.
template <bool BF>
size_t kv_place(const TeolaLink& l, int layer, int is_value, const int32_t* pages, int token, int head,
                int d) {
  const int per_word = BF ? 2 : 1, slot = token % SUBPAGE, page = pages[token / l.page_size];
  const size_t subs = l.page_size / SUBPAGE;
  size_t at = (size_t(layer) * 2 + is_value) * l.num_pages + page;
  at = ((at * l.num_kv_heads + head) * subs + token % l.page_size / SUBPAGE) * SUBPAGE * l.head_dim;
  if (is_value) return at + (size_t(slot / per_word) * l.head_dim + d) * per_word + slot % per_word;
  return at + (size_t(d / per_word) * SUBPAGE + slot) * per_word + d % per_word;
}

template <bool BF>
float kv_number(const uint8_t* kv, size_t place) {
  if (BF) return from_bf16(reinterpret_cast<const uint16_t*>(kv)[place]);
  return reinterpret_cast<const float*>(kv)[place];
}

template <bool BF>
void put_kv(uint8_t* kv, size_t place, float x) {
  if (BF) reinterpret_cast<uint16_t*>(kv)[place] = to_bf16(x);
  else reinterpret_cast<float*>(kv)[place] = x;
}

template <bool BF>
void link_plainly(const TeolaLink& l, const uint8_t* old, uint8_t* kv) {
  const int half = l.head_dim / 2;
  for (int i = 0; i < l.num_layers * l.num_tokens * l.num_kv_heads * half; i++) {
    const int d = i % half, head = i / half % l.num_kv_heads;
    const int token = i / half / l.num_kv_heads % l.num_tokens;
    const int layer = i / half / l.num_kv_heads / l.num_tokens;
    const auto angle = [&](const float* of, int place) { return of[size_t(place + token) * half + d]; };
    const float c0 = angle(l.cos, l.first), s0 = angle(l.sin, l.first);
    const float c1 = angle(l.cos, l.to), s1 = angle(l.sin, l.to);
    const float cos = std::fma(s1, s0, c1 * c0), sin = std::fma(-c1, s0, s1 * c0);
    size_t from[4], to[4];  // of the key's two dimensions, and the value's
    for (int j = 0; j < 4; j++) {
      from[j] = kv_place<BF>(l, layer, j / 2, l.pages, l.first + token, head, d + j % 2 * half);
      to[j] = kv_place<BF>(l, layer, j / 2, l.to_pages, l.to + token, head, d + j % 2 * half);
    }
    const float x = kv_number<BF>(old, from[0]), y = kv_number<BF>(old, from[1]);
    put_kv<BF>(kv, to[0], std::fma(-y, sin, x * cos));
    put_kv<BF>(kv, to[1], std::fma(x, sin, y * cos));
    for (int j = 2; j < 4; j++) put_kv<BF>(kv, to[j], kv_number<BF>(old, from[j]));
  }
}

template <bool BF>
void check_link() {
  constexpr int LINK_LAYERS = 2, HEADS = 2, SIZE = 48, PAGES = 12, MOST = 512;
  const size_t count = size_t(LINK_LAYERS) * 2 * PAGES * 32 * HEADS * SIZE, bytes = count * (BF ? 2 : 4);
  const Lines kv(bytes);
  std::vector<uint8_t> old(bytes), expected;
  for (size_t i = 0; i < count; i++) put_kv<BF>(old.data(), i, random_float());
  std::vector<float> cos, sin;
  for (int i = 0; i < MOST * SIZE / 2; i++) {
    const float angle = random_float(3.0f);
    cos.push_back(std::cos(angle)), sin.push_back(std::sin(angle));
  }
  Pool pool(2);
  LinkScratch scratch(pool.size());
  const int32_t pages[] = {4, 0, 3, 1, 5, 2}, to_pages[] = {9, 6, 11, 7, 10, 8};
  for (auto [first, to, num] : {std::tuple{0, 32, 64}, {3, 5, 70}, {70, 1, 15}, {8, 31, 1}, {1, 120, 40}, {5, 5, 0}}) {
    const TeolaLink l{kv.bytes, PAGES, LINK_LAYERS, HEADS, SIZE, 32,
                      pages, to_pages, first, to, num, cos.data(), sin.data()};
    std::memcpy(kv.bytes, old.data(), bytes);
    teola::link<BF>(l, pool, scratch);
    expected = old;
    link_plainly<BF>(l, old.data(), expected.data());
    expect(!std::memcmp(kv.bytes, expected.data(), bytes), "bits of linked KV", num);
  }
  std::free(kv.bytes);
}

}  // namespace

int main() {
  check_lanes();
  check_functions();
  check_product<false>(F32);
  for (int format : {BF16, Q8, Q4}) check_product<true>(format);
  for (int format : {Q8_INT8, Q4_INT8}) check_int8_product(format);
  check_short_product();
  check_model(false, F32, F32, 1e-5);
  for (int stored : {BF16, Q8, Q4, Q8_INT8, Q4_INT8}) check_model(true, BF16, stored, 0.05);
  check_link<false>(), check_link<true>();
  std::printf("%d failures\n", failures);
  return std::min(failures, 100);
}
