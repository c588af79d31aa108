// The kernel for short sequences on the CPU, through the function that chooses it: sizes around its
// vectors' and blocks' edges, every kind of mask, and gradients of the output and of the weights.
#include <gtest/gtest.h>

#include <ostream>
#include <vector>

#include "attend/functional/attention.h"
#include "attend/functional/heads.h"
#include "support/negated.h"
#include "support/oracle.h"
#include "support/tensor_assert.h"

namespace attend::short_attention_test {
namespace {

constexpr int64_t kB = 2, kH = 3;

struct Sizes {
  int64_t target, source, head_dim, value_dim;
};
std::ostream& operator<<(std::ostream& stream, const Sizes& s) {
  return stream << "T" << s.target << "S" << s.source << "D" << s.head_dim << "Dv" << s.value_dim;
}

struct Inputs {
  torch::Tensor query, key, value;
};

Inputs random_inputs(const Sizes& s, torch::Dtype dtype) {
  const auto make = [&](int64_t length, int64_t dim) {
    return torch::randn({kB, kH, length, dim}, torch::kDouble).to(dtype);
  };
  return {make(s.target, s.head_dim), make(s.source, s.head_dim), make(s.source, s.value_dim)};
}

struct MaskCase {
  const char* name;
  AttentionMask mask;
  torch::Tensor allowed, bias;  // the same, for the formula
};

std::vector<MaskCase> masks(const Sizes& s) {
  const auto allowed = torch::rand({kB, 1, s.target, s.source}) < 0.6;
  const auto bias = torch::randn({1, kH, s.target, s.source}, torch::kDouble);
  const auto lengths = torch::tensor({s.source, s.source / 2});
  const auto row = torch::arange(s.source).unsqueeze(0).lt(lengths.unsqueeze(1));
  const auto causal = oracle::causal(s.target, s.source);
  return {
      {"none", {}, {}, {}},
      {"causal", AttentionMask::causal(), causal, {}},
      {"bool, some rows empty", allowed, allowed, {}},
      {"a bias for each head", bias, {}, bias},
      {"lengths", AttentionMask::key_lengths(lengths), row.view({kB, 1, 1, s.source}), {}},
      {"causal, lengths and bias",
       AttentionMask::causal() & AttentionMask::key_lengths(lengths) & AttentionMask(bias),
       causal.logical_and(row.view({kB, 1, 1, s.source})), bias},
  };
}

// The formula in differentiable operations.
AttentionOutput formula(const Inputs& in, const MaskCase& mask, double scale) {
  auto scores = torch::matmul(in.query, in.key.transpose(-2, -1)) * scale;
  if (mask.bias.defined()) scores = scores + mask.bias.to(scores.scalar_type());
  if (mask.allowed.defined()) scores = scores.masked_fill(mask.allowed.logical_not(), -1e30);
  auto weights = torch::softmax(scores, -1);
  if (mask.allowed.defined()) weights = weights.masked_fill(mask.allowed.logical_not(), 0.0);
  return {torch::matmul(weights, in.value), weights};
}

class ShortAttention : public testing::TestWithParam<Sizes> {};
INSTANTIATE_TEST_SUITE_P(Sizes, ShortAttention,
                         testing::Values(Sizes{1, 1, 1, 1}, Sizes{1, 9, 4, 8}, Sizes{3, 5, 6, 7},
                                         Sizes{5, 3, 2, 9}, Sizes{8, 16, 32, 24},
                                         Sizes{13, 17, 33, 15}, Sizes{31, 64, 8, 40},
                                         Sizes{128, 128, 16, 12}),
                         testing::PrintToStringParamName());

TEST_P(ShortAttention, OutputAndWeightsAgreeWithTheOracle) {
  for (const auto dtype : {torch::kDouble, torch::kFloat}) {
    const double tolerance = dtype == torch::kDouble ? 1e-13 : 2e-6;
    const auto [query, key, value] = random_inputs(GetParam(), dtype);
    for (const auto& mask : masks(GetParam())) {
      SCOPED_TRACE(testing::Message() << mask.name << ", " << dtype);
      const auto expected = oracle::attention(query, key, value, {mask.allowed, mask.bias});
      const auto [output, weights] = functional::scaled_dot_product_attention(
          query, key, value, mask.mask, WeightsRequest::kPerHead);
      EXPECT_TENSOR_NEAR(output, expected.output, tolerance);
      EXPECT_TENSOR_NEAR(weights, expected.weights, tolerance);
      const auto alone = functional::scaled_dot_product_attention(query, key, value, mask.mask);
      EXPECT_TENSOR_EQUAL(alone.output, output);
    }
  }
}

TEST_P(ShortAttention, GradientsAgreeWithThoseOfTheFormula) {
  for (const auto dtype : {torch::kDouble, torch::kFloat}) {
    const double tolerance = dtype == torch::kDouble ? 1e-12 : 2e-5;
    auto in = random_inputs(GetParam(), dtype);
    for (auto* x : {&in.query, &in.key, &in.value}) x->requires_grad_();
    const double scale = 0.3;
    for (const auto& mask : masks(GetParam())) {
      SCOPED_TRACE(testing::Message() << mask.name << ", " << dtype);
      const auto expected = formula(in, mask, scale);
      const auto result = functional::scaled_dot_product_attention(
          in.query, in.key, in.value, mask.mask, WeightsRequest::kPerHead,
          {.dropout_p = 0.0, .scale = scale});
      const auto of_output = torch::randn_like(expected.output);
      const auto of_weights = torch::randn_like(expected.weights);
      const auto gradients = [&](const AttentionOutput& y, bool output, bool weights) {
        torch::autograd::variable_list from, with;
        if (output) from.push_back(y.output), with.push_back(of_output);
        if (weights) from.push_back(y.weights), with.push_back(of_weights);
        return torch::autograd::grad(from, {in.query, in.key, in.value}, with,
                                     /*retain_graph=*/true, /*create_graph=*/false,
                                     /*allow_unused=*/true);
      };
      const auto compare = [&](bool output, bool weights, const char* what) {
        SCOPED_TRACE(what);
        const auto got = gradients(result, output, weights);
        const auto wanted = gradients(expected, output, weights);
        for (size_t i = 0; i < 3; ++i) {
          SCOPED_TRACE(i);
          // The weights do not depend on the value; zero says the same as nothing.
          const auto zero = wanted[i].defined() ? wanted[i] : torch::zeros_like(in.value);
          EXPECT_TENSOR_NEAR(got[i].defined() ? got[i] : torch::zeros_like(zero), zero, tolerance);
        }
      };
      compare(true, false, "of the output");
      compare(false, true, "of the weights");
      compare(true, true, "of both");
    }
  }
}

TEST(ShortAttentionPath, BothSidesOfTheBorderAgree) {
  // One key more than the kernel takes, and that one is masked: LibTorch's kernel computes what this
  // one computes for the others.
  const Sizes sizes{7, 129, 16, 8};
  const auto [query, key, value] = random_inputs(sizes, torch::kDouble);
  const auto lengths = torch::full({kB}, 128, torch::kLong);
  const auto wide = functional::scaled_dot_product_attention(
      query, key, value, AttentionMask::key_lengths(lengths), WeightsRequest::kPerHead);
  const auto narrow = functional::scaled_dot_product_attention(
      query, key.narrow(2, 0, 128), value.narrow(2, 0, 128), {}, WeightsRequest::kPerHead);
  EXPECT_TENSOR_NEAR(wide.output, narrow.output, 1e-13);
  EXPECT_TENSOR_NEAR(wide.weights.narrow(3, 0, 128), narrow.weights, 1e-13);
}

TEST(ShortAttentionPath, ItIsDifferentiableTwice) {
  const Sizes sizes{3, 4, 2, 5};
  auto in = random_inputs(sizes, torch::kDouble);
  for (auto* x : {&in.query, &in.key, &in.value}) x->requires_grad_();
  const auto mask = masks(sizes).back();
  const auto second = [&](const AttentionOutput& y) {
    const auto first = torch::autograd::grad({y.output.pow(2).sum()}, {in.query, in.key, in.value},
                                             {}, true, /*create_graph=*/true);
    return torch::autograd::grad({first[0].pow(2).sum() + first[1].sum() + first[2].pow(2).sum()},
                                 {in.query, in.key, in.value});
  };
  const auto got =
      second(functional::scaled_dot_product_attention(in.query, in.key, in.value, mask.mask));
  const auto wanted = second(formula(in, mask, 1.0 / std::sqrt(2.0)));
  for (size_t i = 0; i < 3; ++i) EXPECT_TENSOR_NEAR(got[i], wanted[i], 1e-11);
}

TEST(ShortAttentionPath, ALearnedBiasGetsItsGradient) {
  const Sizes sizes{3, 4, 2, 5};
  const auto in = random_inputs(sizes, torch::kDouble);
  MaskCase mask = masks(sizes)[3];
  mask.bias.requires_grad_();
  mask.mask = AttentionMask(mask.bias);
  const auto of = [&](const AttentionOutput& y) {
    return torch::autograd::grad({y.output.pow(2).sum()}, {mask.bias})[0];
  };
  EXPECT_TENSOR_NEAR(
      of(functional::scaled_dot_product_attention(in.query, in.key, in.value, mask.mask)),
      of(formula(in, mask, 1.0 / std::sqrt(2.0))), 1e-12);
}

TEST(ShortAttentionPath, StridesDoNotMatter) {
  const Sizes sizes{6, 9, 5, 11};
  const auto [query, key, value] = random_inputs(sizes, torch::kDouble);
  const auto expected = functional::scaled_dot_product_attention(query, key, value).output;
  // [B, L, H, D] in memory, as heads are split; [B, H, D, L], which must be copied; every second one.
  const auto split = [](const torch::Tensor& x) {
    return x.transpose(1, 2).contiguous().transpose(1, 2);
  };
  const auto turned = [](const torch::Tensor& x) {
    return x.transpose(2, 3).contiguous().transpose(2, 3);
  };
  const auto spread = [](const torch::Tensor& x) {
    return torch::stack({x, x + 1}, 3).flatten(2, 3).slice(2, 0, 2 * x.size(2), 2);
  };
  EXPECT_TENSOR_EQUAL(
      functional::scaled_dot_product_attention(split(query), split(key), split(value)).output,
      expected);
  EXPECT_TENSOR_EQUAL(
      functional::scaled_dot_product_attention(turned(query), turned(key), turned(value)).output,
      expected);
  EXPECT_TENSOR_EQUAL(
      functional::scaled_dot_product_attention(spread(query), key, spread(value)).output, expected);
}

TEST(ShortAttentionPath, NumbersMayBeNegatedWhenTheyAreRead) {
  using testing_support::lazily_negated;
  const auto in = random_inputs({5, 7, 8, 9}, torch::kFloat);
  const auto output = functional::scaled_dot_product_attention(
      lazily_negated(in.query), lazily_negated(in.key), lazily_negated(in.value));
  const auto plain = functional::scaled_dot_product_attention(in.query, in.key, in.value);
  EXPECT_TENSOR_NEAR(output.output, -plain.output,
                     1e-6);  // two signs of the scores, one of the values
}

TEST(ShortAttentionPath, JoiningTheHeadsOfItsOutputIsAView) {
  const auto [query, key, value] = random_inputs({6, 9, 5, 11}, torch::kFloat);
  const auto output = functional::scaled_dot_product_attention(query, key, value).output;
  EXPECT_EQ(functional::merge_heads(output).const_data_ptr(), output.const_data_ptr());
}

TEST(ShortAttentionPath, TheNumberOfThreadsDoesNotChangeIt) {
  const auto [query, key, value] = random_inputs({64, 64, 32, 32}, torch::kFloat);
  const int threads = torch::get_num_threads();
  torch::set_num_threads(1);
  const auto one = functional::scaled_dot_product_attention(query, key, value).output;
  torch::set_num_threads(3);
  const auto three = functional::scaled_dot_product_attention(query, key, value).output;
  torch::set_num_threads(threads);
  EXPECT_TENSOR_EQUAL(three, one);
}

}  // namespace
}  // namespace attend::short_attention_test
