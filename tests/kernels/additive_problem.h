#pragma once

#include <algorithm>
#include <limits>
#include <vector>

#include "kernels/cpu/additive_attention.h"
#include "kernels/numbers.h"

namespace attend::kernels_test {

using kernels::AdditiveScore;

constexpr double kNothing = -std::numeric_limits<double>::infinity();
constexpr int64_t kUnbounded = std::numeric_limits<int64_t>::max();

struct AdditiveSizes {
  int64_t batch, heads, target, source, hidden_dim, value_dim;
};

enum class Extras { kNone, kAllowedAndClip, kBandBiasAndTerm, kDropout };

struct ValueAndSlope {
  double value, slope;
};

inline ValueAndSlope score_function(AdditiveScore f, double x, double slope) {
  switch (f) {
    case AdditiveScore::kTanh:
      return {std::tanh(x), 1 - std::tanh(x) * std::tanh(x)};
    case AdditiveScore::kLeakyRelu:
      return {x > 0 ? x : slope * x, x > 0 ? 1 : slope};
    case AdditiveScore::kSilu: {
      const double s = 1 / (1 + std::exp(-x));
      return {x * s, s * (1 + x * (1 - s))};
    }
    case AdditiveScore::kGelu: {
      const double phi = 0.5 * std::erfc(-x / std::sqrt(2.0));
      return {x * phi, phi + x * std::exp(-x * x / 2) / std::sqrt(2 * std::acos(-1.0))};
    }
  }
  return {};
}

// One additive attention, its upstream gradients, and what a kernel makes of them; all contiguous.
template <typename T>
struct AdditiveProblem {
  AdditiveSizes z;
  Numbers<T> query, key, value, vector, key_term, bias, output_gradient, score_gradient;
  std::vector<char> allowed;
  Numbers<T> output, sums, scores;
  Numbers<T> of_query, of_key, of_value, of_vector, of_key_term, of_bias;
  kernels::AdditiveAttention<T> a{};

  AdditiveProblem(const AdditiveSizes& sizes, AdditiveScore score, Extras extras)
      : z(sizes),
        query(normal<T>(heads() * z.target * z.hidden_dim, 1)),
        key(normal<T>(heads() * z.source * z.hidden_dim, 2)),
        value(normal<T>(heads() * z.source * z.value_dim, 3)),
        vector(normal<T>(z.heads * z.hidden_dim, 4, 0.5)),
        key_term(normal<T>(heads() * z.source, 5)),
        bias(normal<T>(heads() * z.target * z.source, 6)),
        output_gradient(normal<T>(heads() * z.target * z.value_dim, 7)),
        score_gradient(normal<T>(bias.size(), 8, 0.1)),
        output(output_gradient.size()),
        sums(heads() * z.target * 2),
        scores(bias.size()) {
    a.batch = z.batch;
    a.heads = z.heads;
    a.target = z.target;
    a.source = z.source;
    a.hidden_dim = z.hidden_dim;
    a.value_dim = z.value_dim;
    a.band_left = a.band_right = kUnbounded;
    a.score = score;
    a.slope = score == AdditiveScore::kLeakyRelu ? T{0.25} : T{0};
    a.scale = T{0.5};
    a.keep_scale = T{1};
    if (extras == Extras::kAllowedAndClip) {
      a.score_clip = T{2};
      std::mt19937 random(9);
      allowed.resize(static_cast<size_t>(bias.size()));
      for (auto& x : allowed) x = random() % 3 == 0;
      std::fill(allowed.begin() + z.source, allowed.begin() + 2 * z.source, 0);  // query 1
    }
    if (extras == Extras::kBandBiasAndTerm) {
      a.band_left = 60;
      a.band_right = 2;
      a.key_term = key_term.data();
      a.bias = {bias.data(), z.heads * z.target * z.source, z.target * z.source, z.source, 1};
    }
    if (extras == Extras::kDropout) {
      a.threshold = 0x40000000;
      a.keep_scale = static_cast<T>(4.0 / 3);
      a.seed = 0x123456789ABCDEF0;
    }
    repoint();
  }

  // Of a copy: its attention is that of its own numbers.
  void repoint() {
    const auto of_head = z.target * z.source;
    a.query = rows<const T>(query, z.target, z.hidden_dim);
    a.key = rows<const T>(key, z.source, z.hidden_dim);
    a.value = rows<const T>(value, z.source, z.value_dim);
    a.vector = vector.data();
    if (a.key_term != nullptr) a.key_term = key_term.data();
    if (a.bias.data != nullptr) a.bias.data = bias.data();
    if (!allowed.empty()) {
      a.allowed = {reinterpret_cast<const bool*>(allowed.data()), z.heads * of_head, of_head,
                   z.source, 1};
    }
  }

  void clear_gradients() {
    of_query = Numbers<T>(query.size());
    of_key = Numbers<T>(key.size());
    of_value = Numbers<T>(value.size());
    of_vector = Numbers<T>(vector.size());
    of_key_term = Numbers<T>(key_term.size());
    of_bias = Numbers<T>(bias.size());
  }

  int64_t heads() const { return z.batch * z.heads; }
  template <typename Element>
  kernels::HeadRows<Element> rows(Numbers<T>& x, int64_t length, int64_t dim) const {
    return {x.data(), z.heads * length * dim, length * dim, dim};
  }
};

// The same by its formula, pair by pair.
struct AdditiveReference {
  std::vector<double> output, scores, query, key, value, vector, key_term, bias;

  template <typename T>
  explicit AdditiveReference(AdditiveProblem<T>& p)
      : output(size(p.output)),
        scores(size(p.scores)),
        query(size(p.query)),
        key(size(p.key)),
        value(size(p.value)),
        vector(size(p.vector)),
        key_term(size(p.key_term)),
        bias(size(p.bias)) {
    for (int64_t head = 0; head < p.heads(); ++head) {
      for (int64_t t = 0; t < p.z.target; ++t) add_row(p, head, t);
    }
  }

 private:
  template <typename T>
  static size_t size(const Numbers<T>& x) {
    return static_cast<size_t>(x.size());
  }
  static double& at(std::vector<double>& x, int64_t i) { return x[static_cast<size_t>(i)]; }

  template <typename T>
  void add_row(AdditiveProblem<T>& p, int64_t head, int64_t t) {
    const auto& a = p.a;
    const auto heads = p.z.heads, target = p.z.target, source = p.z.source;
    const auto hidden_dim = p.z.hidden_dim, value_dim = p.z.value_dim;
    const auto row = head * target + t, q = row * hidden_dim, o = row * value_dim;
    const auto vector_at = head % heads * hidden_dim;
    const auto k = [&](int64_t s) { return (head * source + s) * hidden_dim; };
    const auto v = [&](int64_t s) { return (head * source + s) * value_dim; };
    const auto f = [&](int64_t s, int64_t e) {
      return score_function(a.score, double{p.query[q + e]} + p.key[k(s) + e], a.slope);
    };
    const auto length = static_cast<size_t>(source);
    std::vector<double> weights(length), kept(length, 1.0), clip_slope(length, 1.0),
        of_weights(length);
    double largest = kNothing, sum = 0.0, delta = 0.0;
    for (int64_t s = 0; s < source; ++s) {
      double x = 0.0;
      for (int64_t e = 0; e < hidden_dim; ++e) x += p.vector[vector_at + e] * f(s, e).value;
      x *= a.scale;
      if (a.key_term != nullptr) x += p.key_term[head * source + s];
      if (a.score_clip > 0) {
        at(clip_slope, s) = a.score_clip * (1 - std::tanh(x) * std::tanh(x));
        x = a.score_clip * std::tanh(x);
      }
      if (a.bias.data != nullptr) x += p.bias[row * source + s];
      const auto diagonal = t + source - target;
      const bool is_hidden =
          (a.band_left != kUnbounded && s < diagonal - a.band_left) ||
          (a.band_right != kUnbounded && s > diagonal + a.band_right) ||
          (a.allowed.data != nullptr && p.allowed[static_cast<size_t>(row * source + s)] == 0);
      if (is_hidden) x = kNothing;
      if (a.threshold > 0) {
        const auto number = dropout_number(a.seed, static_cast<uint64_t>(row * source + s));
        at(kept, s) = number >= a.threshold ? a.keep_scale : 0.0;
      }
      at(scores, row * source + s) = at(weights, s) = x;
      largest = x <= largest ? largest : x;
    }
    for (auto& w : weights) {
      w = w == kNothing ? 0.0 : std::exp(w - largest);
      sum += w;
    }
    for (int64_t s = 0; s < source; ++s) {
      if (sum != 0.0) at(weights, s) /= sum;
      for (int64_t e = 0; e < value_dim; ++e) {
        const double factor = at(kept, s) * at(weights, s), gradient = p.output_gradient[o + e];
        at(output, o + e) += factor * p.value[v(s) + e];
        at(value, v(s) + e) += factor * gradient;
        at(of_weights, s) += at(kept, s) * gradient * p.value[v(s) + e];
      }
      delta += at(of_weights, s) * at(weights, s);
    }
    for (int64_t s = 0; s < source; ++s) {
      if (at(scores, row * source + s) == kNothing) continue;
      const double of_score =
          at(weights, s) * (at(of_weights, s) - delta) + p.score_gradient[row * source + s];
      const double inner = of_score * at(clip_slope, s);
      if (a.bias.data != nullptr) at(bias, row * source + s) += of_score;
      at(key_term, head * source + s) += inner;
      for (int64_t e = 0; e < hidden_dim; ++e) {
        const auto [value_of_f, slope_of_f] = f(s, e);
        const double g = inner * a.scale * p.vector[vector_at + e] * slope_of_f;
        at(query, q + e) += g;
        at(key, k(s) + e) += g;
        at(vector, vector_at + e) += inner * a.scale * value_of_f;
      }
    }
  }
};

template <typename T>
void expect_outputs(AdditiveProblem<T>& p, const AdditiveReference& expected) {
  expect_near(p.scores, expected.scores, 40, "scores");
  expect_near(p.output, expected.output, 40, "output");
}

template <typename T>
void expect_gradients(AdditiveProblem<T>& p, const AdditiveReference& expected) {
  expect_near(p.of_query, expected.query, 100, "gradient of the query");
  expect_near(p.of_key, expected.key, 100, "gradient of the key");
  expect_near(p.of_value, expected.value, 100, "gradient of the value");
  expect_near(p.of_vector, expected.vector, 400, "gradient of the vector");
  expect_near(p.of_key_term, expected.key_term, 100, "gradient of the key term");
  expect_near(p.of_bias, expected.bias, 100, "gradient of the bias");
}

}  // namespace attend::kernels_test
