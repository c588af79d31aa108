#include "kernels/cpu/attention.h"

#include <algorithm>
#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <type_traits>
#include <vector>

#include "kernels/numbers.h"
#include "support/instruction_sets.h"

namespace attend::kernels_test {
namespace {

constexpr double kInfinite = std::numeric_limits<double>::infinity();
constexpr int64_t kNoBand = std::numeric_limits<int64_t>::max();

struct Sizes {
  int64_t batch, heads, group, target, source, head_dim, value_dim;
};

// One attention, in the memory order of [B, L, H, D], and what the kernels make of it.
template <typename Number, typename StoredAs = Number>
struct Problem {
  using T = Number;
  using Stored = StoredAs;

  Sizes z;
  int64_t kv_heads;
  Numbers<Stored> query, key, value, output_gradient;
  Numbers<T> bias, relative_bias, slopes, sinks;
  std::vector<char> allowed;
  std::vector<int64_t> query_segments, key_segments;
  Numbers<Stored> output, key_gradient, value_gradient;
  Numbers<T> sums, query_gradient;
  Numbers<T> weights_gradient;  // [B, H, T, S], if there is one
  Numbers<T> bias_gradient{1};  // of all that `bias` holds; behind it, its other parts
  kernels::Attention<T, Stored> a{};

  explicit Problem(const Sizes& sizes)
      : z(sizes),
        kv_heads(z.heads / z.group),
        query(normal<Stored>(z.batch * z.target * z.heads * z.head_dim, 1)),
        key(normal<Stored>(z.batch * z.source * kv_heads * z.head_dim, 2)),
        value(normal<Stored>(z.batch * z.source * kv_heads * z.value_dim, 3)),
        output_gradient(normal<Stored>(z.batch * z.target * z.heads * z.value_dim, 4)),
        bias(normal<T>(z.batch * z.heads * (z.target + 1) * (z.source + 1), 5)),
        relative_bias(normal<T>(z.heads * (z.target + z.source - 1), 10)),
        slopes(normal<T>(z.heads, 6, 0.1)),
        sinks(normal<T>(z.heads, 7)),
        output(output_gradient.size()),
        key_gradient(key.size()),
        value_gradient(value.size()),
        sums(z.batch * z.heads * z.target * 2),
        query_gradient(query.size()) {
    a.batch = z.batch;
    a.heads = z.heads;
    a.target = z.target;
    a.source = z.source;
    a.head_dim = z.head_dim;
    a.value_dim = z.value_dim;
    a.group = z.group;
    a.query = rows<const Stored>(query, z.target, z.heads, z.head_dim);
    a.key = rows<const Stored>(key, z.source, kv_heads, z.head_dim);
    a.value = rows<const Stored>(value, z.source, kv_heads, z.value_dim);
    a.band_left = a.band_right = kNoBand;
    a.scale = static_cast<T>(1 / std::sqrt(static_cast<double>(z.head_dim)));
  }

  template <typename Element>
  static kernels::HeadRows<Element> rows(Numbers<std::remove_const_t<Element>>& x, int64_t length,
                                         int64_t heads, int64_t dim) {
    return {x.data(), length * heads * dim, dim, heads * dim};
  }
  kernels::HeadRows<Stored> output_rows() {
    return rows<Stored>(output, z.target, z.heads, z.value_dim);
  }

  void clear() {
    output = Numbers<Stored>(output.size(), number_of<Stored>(-77));
    sums = Numbers<T>(sums.size(), T{-77});
  }
  void run_forward() {
    clear();
    Numbers<T> workspace(kernels::attention_forward_workspace(a));
    const auto tasks = kernels::attention_forward_tasks(a);
    for (int64_t task = 0; task < tasks; ++task) {
      kernels::attention_forward(a, output_rows(), sums.data(), task, workspace.data());
    }
  }
  void run_few() {
    clear();
    const auto tasks = kernels::attention_of_few_parts(a) * z.batch * kv_heads;
    const auto size = z.group * z.target * (2 + z.value_dim);
    Numbers<T> workspace(kernels::attention_of_few_workspace(a)), partials(tasks * size);
    for (int64_t task = 0; task < tasks; ++task) {
      kernels::attention_of_few(a, task, partials.data() + task * size, workspace.data());
    }
    kernels::attention_of_few_joined(a, partials.data(), output_rows(), sums.data(), 0,
                                     z.batch * kv_heads);
  }
  // Of all heads and queries.
  template <typename Element>
  kernels::WeightsView<Element> view_of(Numbers<T>& weights) const {
    if (weights.size() == 0) return {};
    return {weights.data(), z.heads * z.target * z.source, z.target * z.source, z.source};
  }
  void run_weights(const kernels::WeightsView<T>& to) {
    Numbers<T> workspace(kernels::attention_weights_workspace(a));
    for (int64_t task = 0; task < kernels::attention_weights_tasks(a, to); ++task) {
      kernels::attention_weights(a, sums.data(), to, task, workspace.data());
    }
  }
  void run_backward() {
    const auto of_output = rows<const Stored>(output, z.target, z.heads, z.value_dim);
    const auto gradient = rows<const Stored>(output_gradient, z.target, z.heads, z.value_dim);
    Numbers<T> deltas(z.batch * z.heads * z.target),
        workspace(kernels::attention_backward_workspace(a));
    kernels::attention_deltas(a, of_output, gradient, deltas.data(), 0, z.batch * z.heads);
    const auto of_weights = view_of<const T>(weights_gradient);
    if (of_weights.data != nullptr) {
      Numbers<T> own(kernels::attention_weights_workspace(a));
      for (int64_t task = 0; task < kernels::attention_weight_deltas_tasks(a); ++task) {
        kernels::attention_weight_deltas(a, sums.data(), of_weights, deltas.data(), task,
                                         own.data());
      }
    }
    // The gradient of a bias has the bias' strides.
    auto of_bias = kernels::BiasGradient<T>{};
    if (a.bias.source_stride != 0) {
      of_bias = {bias_gradient.data(), a.bias.batch_stride,  a.bias.head_stride,
                 a.bias.target_stride, a.bias.source_stride, bias.size()};
      const auto bias_parts = kernels::attention_bias_parts(a, of_bias);
      bias_gradient = Numbers<T>(bias_parts * bias.size());
      of_bias.data = bias_gradient.data() + (a.bias.data - bias.data());
    }
    const auto parts = kernels::attention_key_parts(a);
    const auto part_size = z.batch * z.heads * z.target * z.head_dim;
    Numbers<T> query_parts((parts - 1) * part_size, T{-77});
    query_gradient = Numbers<T>(query.size(), T{-77});
    const kernels::AttentionBackward<T, Stored> backward{
        gradient,
        sums.data(),
        deltas.data(),
        of_weights,
        {rows<T>(query_gradient, z.target, z.heads, z.head_dim),
         rows<Stored>(key_gradient, z.source, kv_heads, z.head_dim),
         rows<Stored>(value_gradient, z.source, kv_heads, z.value_dim)},
        parts > 1 ? query_parts.data() : nullptr,
        of_bias};
    for (int64_t task = 0; task < kernels::attention_backward_tasks(a, of_bias); ++task) {
      kernels::attention_backward(a, backward, task, workspace.data());
    }
    for (int64_t i = 0; i < query_parts.size(); ++i) {
      const auto dim = i % z.head_dim, t = i / z.head_dim % z.target;
      const auto row = i % part_size / (z.head_dim * z.target);  // of all B * H
      const auto batch = row / z.heads, head = row % z.heads;
      query_gradient[((batch * z.target + t) * z.heads + head) * z.head_dim + dim] +=
          query_parts[i];
    }
    for (auto i = bias.size(); i < bias_gradient.size(); ++i) {
      bias_gradient[i % bias.size()] += bias_gradient[i];
    }
    if (of_bias.data != nullptr) bias_gradient.shorten(bias.size());
  }
};

// The same by its formula, score by score.
struct Reference {
  std::vector<double> output, sums, query, key, value, bias;
  std::vector<double> all_weights;  // [B, H, T, S], before dropout

  template <class P>
  explicit Reference(P& p) {
    output.resize(static_cast<size_t>(p.output.size()));
    query.resize(static_cast<size_t>(p.query.size()));
    key.resize(static_cast<size_t>(p.key.size()));
    value.resize(static_cast<size_t>(p.value.size()));
    bias.resize(static_cast<size_t>(p.a.bias.data != nullptr ? p.bias.size() : 1));
    for (int64_t b = 0; b < p.z.batch; ++b) {
      for (int64_t h = 0; h < p.z.heads; ++h) {
        for (int64_t t = 0; t < p.z.target; ++t) add_row(p, b, h, t);
      }
    }
  }

  // The shifts of a kernel are at most 2 below the largest scores.
  template <typename T>
  void expect_sums(Numbers<T> found) const {
    for (int64_t row = 0; row < found.size(); row += 2) {
      const double largest = sums[static_cast<size_t>(row)], below = largest - found[row];
      if (sums[static_cast<size_t>(row + 1)] == 0.0) continue;  // zeros
      EXPECT_GE(below, -1e-5 * (1 + std::abs(largest))) << row;
      EXPECT_LE(below, 2.0 + 1e-5 * (1 + std::abs(largest))) << row;
      found[row] = static_cast<T>(largest);
      found[row + 1] = static_cast<T>(found[row + 1] * std::exp(below));
    }
    expect_near(found, sums, 20, "sums");
  }

 private:
  template <class P>
  static bool is_visible(const P& p, int64_t b, int64_t h, int64_t t, int64_t s) {
    const auto& a = p.a;
    const auto diagonal = t + p.z.source - p.z.target;
    if (a.band_left != kNoBand && s < diagonal - a.band_left) return false;
    if (a.band_right != kNoBand && s > diagonal + a.band_right) return false;
    if (a.allowed.data != nullptr && !a.allowed.row(b, h, t)[s * a.allowed.source_stride]) {
      return false;
    }
    return a.query_segments == nullptr ||
           a.query_segments[b * p.z.target + t] == a.key_segments[b * p.z.source + s];
  }

  template <class P>
  void add_row(P& p, int64_t b, int64_t h, int64_t t) {
    const auto& a = p.a;
    const auto heads = p.z.heads, group = p.z.group, target = p.z.target, source = p.z.source;
    const auto head_dim = p.z.head_dim, value_dim = p.z.value_dim;
    const auto size = static_cast<size_t>(source);
    std::vector<double> weights(size), slope(size, 1.0), kept(size, 1.0), of_weights(size);
    const auto q = ((b * target + t) * heads + h) * head_dim;
    const auto o = ((b * target + t) * heads + h) * value_dim;
    const auto k = [&](int64_t s) {
      return ((b * source + s) * p.kv_heads + h / group) * head_dim;
    };
    const auto v = [&](int64_t s) {
      return ((b * source + s) * p.kv_heads + h / group) * value_dim;
    };
    const double sink = a.sinks != nullptr ? a.sinks[h] : -kInfinite;
    double largest = sink;
    for (int64_t s = 0; s < source; ++s) {
      const auto i = static_cast<size_t>(s);
      double x = 0.0;
      for (int64_t e = 0; e < head_dim; ++e)
        x += value_of(p.query[q + e]) * value_of(p.key[k(s) + e]);
      x *= a.scale;
      if (a.soft_cap > 0) {
        const double y = std::tanh(x / a.soft_cap);
        x = a.soft_cap * y;
        slope[i] = 1 - y * y;
      }
      if (a.bias.data != nullptr) x += a.bias.row(b, h, t)[s * a.bias.source_stride];
      if (a.relative_bias.data != nullptr) {
        x += p.relative_bias[h * (target + source - 1) + s - t + target - 1];
      }
      if (a.slopes != nullptr) {
        x -= a.slopes[h] * std::abs(static_cast<double>(t + source - target - s));
      }
      if (a.dropout.threshold > 0) {
        const auto row = static_cast<uint64_t>((b * heads + h) * target + t);
        const auto number = attention_number(a.dropout.seed, row, i);
        kept[i] = number >= a.dropout.threshold ? a.dropout.scale() : 0.0;
      }
      weights[i] = is_visible(p, b, h, t, s) ? x : -kInfinite;
      // The greater of x and NaN is NaN.
      largest = weights[i] <= largest ? largest : weights[i];
    }
    double sum = largest == -kInfinite ? 0.0 : std::exp(sink - largest);
    for (auto& w : weights) {
      w = w == -kInfinite ? 0.0 : std::exp(w - largest);
      sum += w;
    }
    sums.push_back(sum == 0.0 ? 0.0 : largest);
    sums.push_back(sum == 0.0 ? 0.0 : 1.0 / sum);
    double delta = 0.0;
    for (int64_t s = 0; s < source; ++s) {
      const auto i = static_cast<size_t>(s);
      if (sum != 0.0) weights[i] /= sum;
      for (int64_t e = 0; e < value_dim; ++e) {
        const double gradient = value_of(p.output_gradient[o + e]), factor = kept[i] * weights[i];
        output[static_cast<size_t>(o + e)] += factor * value_of(p.value[v(s) + e]);
        value[static_cast<size_t>(v(s) + e)] += factor * gradient;
        of_weights[i] += kept[i] * gradient * value_of(p.value[v(s) + e]);
      }
      if (p.weights_gradient.size() > 0) {
        const auto row = (b * heads + h) * target + t;
        of_weights[i] += p.weights_gradient[row * source + s];
      }
      all_weights.push_back(weights[i]);
      delta += of_weights[i] * weights[i];
    }
    for (int64_t s = 0; s < source; ++s) {
      const auto i = static_cast<size_t>(s);
      const double of_score = weights[i] * (of_weights[i] - delta);
      if (a.bias.data != nullptr) {
        const auto* const of = a.bias.row(b, h, t) + s * a.bias.source_stride;
        bias[static_cast<size_t>(of - p.bias.data())] += of_score;
      }
      const double g = of_score * slope[i] * a.scale;
      for (int64_t e = 0; e < head_dim; ++e) {
        query[static_cast<size_t>(q + e)] += g * value_of(p.key[k(s) + e]);
        key[static_cast<size_t>(k(s) + e)] += g * value_of(p.query[q + e]);
      }
    }
  }
};

template <class P>
struct Case {
  std::string name;
  std::function<void(P&)> change;
};

template <class P>
std::vector<Case<P>> cases() {
  const auto with_allowed = [](P& p) {
    const auto& z = p.z;
    p.allowed.resize(static_cast<size_t>(z.batch * z.target * z.source));
    std::mt19937 random(8);
    for (auto& x : p.allowed) x = random() % 3 == 0;
    // A query that sees nothing, and one that sees all.
    const auto row = p.allowed.begin();
    if (z.target > 3) std::fill(row + 2 * z.source, row + 3 * z.source, 0);
    std::fill(row, row + z.source, 1);
    p.a.allowed = {reinterpret_cast<const bool*>(p.allowed.data()), z.target * z.source, 0,
                   z.source, 1};
  };
  const auto with_lengths = [](P& p) {
    const auto& z = p.z;
    for (int64_t i = 0; i < z.batch * z.source; ++i) {
      p.allowed.push_back(i % z.source < z.source * 2 / (3 + i / z.source));
    }
    p.a.allowed = {reinterpret_cast<const bool*>(p.allowed.data()), z.source, 0, 0, 1};
  };
  const auto with_bias = [](P& p) {
    p.a.bias = {p.bias.data(), 0, p.z.target * p.z.source, p.z.source, 1};
  };
  const auto with_relative_bias = [](P& p) {
    p.a.relative_bias = {p.relative_bias.data() + p.z.target - 1, 0, p.z.target + p.z.source - 1,
                         -1, 1};
  };
  const auto causal = [](P& p) { p.a.band_right = 0; };
  return {
      {"plain", [](P&) {}},
      {"causal", causal},
      {"band",
       [](P& p) {
         p.a.band_left = 20;
         p.a.band_right = 3;
       }},
      {"allowed", with_allowed},
      {"lengths", with_lengths},
      {"causal lengths",
       [=](P& p) {
         with_lengths(p);
         causal(p);
       }},
      {"bias",
       [=](P& p) {
         with_bias(p);
         causal(p);
       }},
      {"bias of the queries",
       [](P& p) {
         p.a.bias = {p.bias.data(), 0, p.z.target, 1, 0};
       }},
      {"bias of each sentence",
       [](P& p) {
         const auto of_head = p.z.target * p.z.source;
         p.a.bias = {p.bias.data(), p.z.heads * of_head, of_head, p.z.source, 1};
         p.a.band_left = 30;
       }},
      {"bias of all heads",
       [](P& p) {
         p.a.bias = {p.bias.data(), 0, 0, p.z.source, 1};
       }},
      {"bias of the keys",
       [](P& p) {
         p.a.bias = {p.bias.data(), p.z.source, 0, 0, 1};
         p.a.band_right = 2;
       }},
      {"bias of the distance",
       [=](P& p) {
         with_lengths(p);
         p.a.bias = {p.bias.data() + p.z.target - 1, 0, p.z.target + p.z.source - 1, -1, 1};
       }},
      {"relative bias",
       [=](P& p) {
         with_relative_bias(p);
         p.a.band_right = 4;
       }},
      {"bias of the keys beside a relative one",
       [=](P& p) {
         with_relative_bias(p);
         p.a.bias = {p.bias.data(), p.z.source, 0, 0, 1};
       }},
      {"slopes and soft cap",
       [](P& p) {
         p.a.slopes = p.slopes.data();
         p.a.soft_cap = 3;
       }},
      {"sinks",
       [](P& p) {
         p.a.sinks = p.sinks.data();
         p.a.band_left = 9;
         p.a.band_right = 0;
       }},
      {"segments",
       [](P& p) {
         const auto& z = p.z;
         for (int64_t i = 0; i < z.batch * z.target; ++i) {
           p.query_segments.push_back(i % z.target * 3 / z.target);
         }
         for (int64_t i = 0; i < z.batch * z.source; ++i) {
           p.key_segments.push_back(i % z.source * 4 / z.source);
         }
         p.a.query_segments = p.query_segments.data();
         p.a.key_segments = p.key_segments.data();
       }},
      {"dropout",
       [](P& p) {
         p.a.dropout = {.threshold = 20000, .seed = 0x123456789ABCDEF0};
         p.a.band_right = 0;
       }},
      {"all together",
       [=](P& p) {
         with_allowed(p);
         with_bias(p);
         with_relative_bias(p);
         p.a.slopes = p.slopes.data();
         p.a.sinks = p.sinks.data();
         p.a.soft_cap = 5;
         p.a.band_left = 40;
         p.a.dropout = {.threshold = 10000, .seed = 5};
       }},
  };
}

template <class P>
Case<P> with_weights_gradient(const Case<P>& of) {
  return {of.name + ", with a gradient of the weights", [of](P& p) {
            of.change(p);
            p.weights_gradient =
                normal<typename P::T>(p.z.batch * p.z.heads * p.z.target * p.z.source, 9);
          }};
}

// Blocks have 64 queries and 128 keys; vectors 4, 8 or 16 numbers.
constexpr Sizes kSizes[] = {{2, 4, 2, 7, 11, 8, 5},
                            {1, 3, 1, 70, 135, 33, 17},
                            {2, 8, 4, 1, 270, 20, 36},
                            {1, 2, 1, 5, 129, 40, 70}};

template <typename T>
class KernelAttention : public testing::Test {};
struct TypeNames {
  template <typename T>
  static std::string GetName(int /*index*/) {
    return sizeof(T) == 4 ? "Float32" : "Float64";
  }
};
using Types = testing::Types<float, double>;
TYPED_TEST_SUITE(KernelAttention, Types, TypeNames);

TYPED_TEST(KernelAttention, AgreesWithItsFormula) {
  for (const auto& sizes : kSizes) {
    for (const auto& [name, change] : cases<Problem<TypeParam>>()) {
      SCOPED_TRACE(testing::Message()
                   << name << ", T = " << sizes.target << ", S = " << sizes.source);
      Problem<TypeParam> p(sizes);
      change(p);
      const Reference expected(p);
      testing_support::for_each_instruction_set([&] {
        p.run_few();
        expect_near(p.output, expected.output, 20, "output for few queries");
        expected.expect_sums(p.sums);
        p.run_forward();
        expect_near(p.output, expected.output, 20, "output");
        expected.expect_sums(p.sums);
        p.run_backward();
        expect_near(p.query_gradient, expected.query, 60, "gradient of the query");
        expect_near(p.key_gradient, expected.key, 60, "gradient of the key");
        expect_near(p.value_gradient, expected.value, 60, "gradient of the value");
        if (p.a.bias.source_stride != 0) {
          expect_near(p.bias_gradient, expected.bias, 60, "gradient of the bias");
        }
      });
    }
  }
}

// Each query's scores rise or fall from block to block by another amount, less and more than what needs no new
// shift, and those of some begin far below the others of their block.
TYPED_TEST(KernelAttention, ScoresMayRiseFromBlockToBlock) {
  constexpr double kRises[] = {1.0, 1.9, 2.1, 30.0, -30.0, 0.0};
  constexpr double kUnits = 20 + 2 * 35;  // a weight is off by as many as its score is large
  for (const auto& sizes : {kSizes[1], Sizes{2, 4, 2, 7, 400, 8, 5}}) {
    Problem<TypeParam> p(sizes);
    p.bias = Numbers<TypeParam>(sizes.target * sizes.source);
    for (int64_t i = 0; i < p.bias.size(); ++i) {
      const auto t = i / sizes.source, s = i % sizes.source;
      p.bias[i] = static_cast<TypeParam>(kRises[t % 6] * static_cast<double>(s / 128) -
                                         (t % 5 == 1 && s % 4 == 0 ? 20 : 0));
    }
    p.a.bias = {p.bias.data(), 0, 0, sizes.source, 1};
    const Reference expected(p);
    Numbers<TypeParam> weights(sizes.batch * sizes.heads * sizes.target * sizes.source);
    testing_support::for_each_instruction_set([&] {
      p.run_few();
      expect_near(p.output, expected.output, kUnits, "output for few queries");
      p.run_forward();
      expect_near(p.output, expected.output, kUnits, "output");
      p.run_weights(p.template view_of<TypeParam>(weights));
      expect_near(weights, expected.all_weights, kUnits, "weights");
      for (int64_t row = 0; row < p.sums.size(); row += 2) {
        const double largest = expected.sums[static_cast<size_t>(row)];
        EXPECT_LE(largest - p.sums[row], 2.001) << row;
        EXPECT_LE(p.sums[row], largest + 0.001) << row;
      }
    });
  }
}

// Of bfloat16 in memory, by pairs and without. Results are rounded; pairs also round weights and
// gradients of scores, so that the error of each product is up to 2^-8 of it.
class KernelAttentionOfBFloat16 : public testing::TestWithParam<bool> {
 protected:
  using Numbers16 = Problem<float, kernels::BFloat16>;

  static bool can_run() { return !GetParam() || testing_support::can_multiply_pairs(); }
};
INSTANTIATE_TEST_SUITE_P(Products, KernelAttentionOfBFloat16, testing::Bool(),
                         [](const auto& x) { return x.param ? "Pairs" : "Singles"; });

TEST_P(KernelAttentionOfBFloat16, AgreesWithItsFormula) {
  const double units = GetParam() ? 2 : 1.01, of_gradients = 5;
  for (const auto& sizes : kSizes) {
    for (const auto& of : cases<Numbers16>()) {
      for (const auto& [name, change] : {of, with_weights_gradient(of)}) {
        SCOPED_TRACE(testing::Message()
                     << name << ", T = " << sizes.target << ", S = " << sizes.source);
        Numbers16 p(sizes);
        change(p);
        p.a.multiplies_pairs = GetParam();
        const Reference expected(p);
        const auto of_float = of_gradients * kPrecision<kernels::BFloat16> / kPrecision<float>;
        Numbers<float> weights(sizes.batch * sizes.heads * sizes.target * sizes.source);
        testing_support::for_each_instruction_set([&] {
          if (!can_run()) return;
          p.run_few();
          expect_near(p.output, expected.output, 1.01, "output for few queries");
          expected.expect_sums(p.sums);
          p.run_forward();
          expect_near(p.output, expected.output, units, "output");
          expected.expect_sums(p.sums);
          p.run_weights(p.view_of<float>(weights));
          expect_near(weights, expected.all_weights, 20, "weights");
          p.run_backward();
          expect_near(p.query_gradient, expected.query, of_float, "gradient of the query");
          expect_near(p.key_gradient, expected.key, of_gradients, "gradient of the key");
          expect_near(p.value_gradient, expected.value, of_gradients, "gradient of the value");
          if (p.a.bias.source_stride != 0) {
            expect_near(p.bias_gradient, expected.bias, of_float, "gradient of the bias");
          }
        });
      }
    }
  }
}

TEST_P(KernelAttentionOfBFloat16, IsNotANumberWhereTheScoreIsNone) {
  for (const int64_t at : {0, 3, 130, 134}) {
    SCOPED_TRACE(testing::Message() << "key " << at);
    Numbers16 p(kSizes[1]);
    p.a.bias = {p.bias.data(), 0, 0, 0, 1};
    p.a.band_right = 0;
    p.a.multiplies_pairs = GetParam();
    p.bias[at] = std::nanf("");
    const Reference expected(p);
    testing_support::for_each_instruction_set([&] {
      if (!can_run()) return;
      p.run_forward();
      expect_near(p.output, expected.output, 2, "output");
    });
  }
}

TYPED_TEST(KernelAttention, WeightsAndTheirGradientAgreeWithTheFormula) {
  for (const auto& sizes : kSizes) {
    for (const auto& of : cases<Problem<TypeParam>>()) {
      const auto [name, change] = with_weights_gradient(of);
      SCOPED_TRACE(testing::Message()
                   << name << ", T = " << sizes.target << ", S = " << sizes.source);
      Problem<TypeParam> p(sizes);
      change(p);
      const Reference expected(p);
      Numbers<TypeParam> weights(p.weights_gradient.size());
      testing_support::for_each_instruction_set([&] {
        p.run_forward();
        if (kernels::has_few_queries(p.a)) p.run_few();
        weights = Numbers<TypeParam>(weights.size(), TypeParam{-77});
        p.run_weights(p.template view_of<TypeParam>(weights));
        expect_near(weights, expected.all_weights, 20, "weights");
        p.run_backward();
        expect_near(p.query_gradient, expected.query, 60, "gradient of the query");
        expect_near(p.key_gradient, expected.key, 60, "gradient of the key");
        expect_near(p.value_gradient, expected.value, 60, "gradient of the value");
        if (p.a.bias.source_stride != 0) {
          expect_near(p.bias_gradient, expected.bias, 60, "gradient of the bias");
        }
      });
    }
  }
}

TYPED_TEST(KernelAttention, ChosenWeightsAreThoseOfAllToTheBit) {
  using T = TypeParam;
  for (const auto& sizes : kSizes) {
    for (const auto& [name, change] : cases<Problem<T>>()) {
      SCOPED_TRACE(testing::Message()
                   << name << ", T = " << sizes.target << ", S = " << sizes.source);
      Problem<T> p(sizes);
      change(p);
      // Every second head; the first query, the last one and two in the middle.
      std::vector<int64_t> heads, queries;
      int64_t chosen_heads = 0, chosen_queries = 0;
      for (int64_t h = 0; h < sizes.heads; ++h) heads.push_back(h % 2 == 0 ? chosen_heads++ : -1);
      for (int64_t t = 0; t < sizes.target; ++t) {
        const bool is_chosen = t == 0 || t + 1 == sizes.target || (t / 2) == sizes.target / 4;
        queries.push_back(is_chosen ? chosen_queries++ : -1);
      }
      const auto row = sizes.source, of_head = chosen_queries * row;
      testing_support::for_each_instruction_set([&] {
        p.run_forward();
        Numbers<T> all(sizes.batch * sizes.heads * sizes.target * row), mean(sizes.batch * of_head);
        Numbers<T> some(sizes.batch * chosen_heads * of_head);
        p.run_weights(p.template view_of<T>(all));
        p.run_weights({some.data(), chosen_heads * of_head, of_head, row, heads.data(),
                       queries.data(), nullptr});
        Numbers<T> shares(sizes.heads, static_cast<T>(1.0 / static_cast<double>(chosen_heads)));
        p.run_weights({mean.data(), of_head, 0, row, heads.data(), queries.data(), shares.data()});
        for (int64_t b = 0; b < sizes.batch; ++b) {
          for (int64_t t = 0; t < sizes.target; ++t) {
            const auto place = queries[static_cast<size_t>(t)];
            if (place < 0) continue;
            for (int64_t s = 0; s < row; ++s) {
              double sum = 0.0;
              for (int64_t h = 0; h < sizes.heads; h += 2) {
                const T of_all = all[((b * sizes.heads + h) * sizes.target + t) * row + s];
                ASSERT_EQ(some[(b * chosen_heads + h / 2) * of_head + place * row + s], of_all);
                sum += of_all;
              }
              ASSERT_NEAR(mean[b * of_head + place * row + s],
                          sum / static_cast<double>(chosen_heads), sizeof(T) == 4 ? 2e-7 : 4e-16);
            }
          }
        }
      });
    }
  }
}

// Which of two numbers the greater one is where one is NaN depends on the instruction set.
TYPED_TEST(KernelAttention, WhatIsNotANumberIsSeenByThoseWhoSeeTheKey) {
  for (const double wrong : {std::nan(""), kInfinite}) {
    for (const int64_t at : {0, 3, 130, 134}) {
      SCOPED_TRACE(testing::Message() << wrong << " for key " << at);
      Problem<TypeParam> p(kSizes[1]);
      p.a.bias = {p.bias.data(), 0, 0, 0, 1};
      p.a.band_right = 0;
      p.bias[at] = static_cast<TypeParam>(wrong);
      const Reference expected(p);
      testing_support::for_each_instruction_set([&] {
        p.run_few();
        expect_near(p.output, expected.output, 20, "output for few queries");
        p.run_forward();
        expect_near(p.output, expected.output, 20, "output");
      });
    }
  }
}

}  // namespace
}  // namespace attend::kernels_test
