// The CPU's kernel, through the function that chooses it: sizes around its vectors' and blocks' edges,
// every kind of mask, gradients of the output and of the weights, dropout.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <ostream>
#include <string>
#include <vector>

#include "attend/functional/attention.h"
#include "attend/functional/dropout.h"
#include "attend/functional/heads.h"
#include "support/instruction_sets.h"
#include "support/negated.h"
#include "support/oracle.h"
#include "support/peak_memory.h"
#include "support/tensor_assert.h"

namespace attend::blockwise_attention_test {
namespace {

using torch::autograd::variable_list;

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

class BlockwiseAttention : public testing::TestWithParam<Sizes> {};
INSTANTIATE_TEST_SUITE_P(Sizes, BlockwiseAttention,
                         testing::Values(Sizes{1, 1, 1, 1}, Sizes{1, 9, 4, 8}, Sizes{3, 5, 6, 7},
                                         Sizes{5, 3, 2, 9}, Sizes{8, 16, 32, 24},
                                         Sizes{13, 17, 33, 15}, Sizes{31, 64, 8, 40},
                                         Sizes{128, 128, 16, 12}),
                         testing::PrintToStringParamName());

TEST_P(BlockwiseAttention, OutputAndWeightsAgreeWithTheOracle) {
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

TEST_P(BlockwiseAttention, GradientsAgreeWithThoseOfTheFormula) {
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

TEST(BlockwiseAttentionPath, ItIsDifferentiableTwice) {
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

TEST(BlockwiseAttentionPath, ALearnedBiasGetsItsGradient) {
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

TEST(BlockwiseAttentionPath, ARelativeBiasMayLieInAnyOrderAndBeNegatedWhenItIsRead) {
  using testing_support::lazily_negated;
  const auto in = random_inputs({6, 9, 5, 11}, torch::kDouble);
  const auto bias = torch::randn({kH, 14}, torch::kDouble);
  const auto output = [&](const torch::Tensor& x) {
    return functional::scaled_dot_product_attention(in.query, in.key, in.value,
                                                    AttentionMask::relative_bias(x))
        .output;
  };
  const auto expected = output(bias);
  EXPECT_TENSOR_EQUAL(output(bias.t().contiguous().t()), expected);
  EXPECT_TENSOR_EQUAL(output(lazily_negated(-bias)), expected);
}

// T = S = 1024 with 4 heads: a bias [1, H, T, S] of float32 has 16 MiB, and so has its gradient.
TEST(BlockwiseAttentionPath, ARelativeBiasTakesNoMemoryForEachQueryAndKey) {
  constexpr int64_t kLength = 1024, kHeads = 4;
  const auto x = torch::randn({1, kHeads, kLength, 8}).requires_grad_();
  const auto bias = torch::randn({kHeads, 2 * kLength - 1}).requires_grad_();
  const auto lengths = torch::tensor({kLength - 5});
  const auto peak = [&](const AttentionMask& mask) {
    const testing_support::PeakMemory memory;
    const auto output = functional::scaled_dot_product_attention(x, x, x, mask).output;
    torch::autograd::grad({output.sum()}, {x, bias});
    return memory.peak();
  };
  const auto own = AttentionMask::relative_bias(bias);
  for (const auto& mask : {own, own & AttentionMask::causal() & AttentionMask::key_lengths(lengths),
                           own & torch::randn({1, 1, 1, kLength})}) {
    EXPECT_LT(peak(mask), kHeads * kLength * kLength * 4 / 8);
  }
}

// Learned slopes are a bias by distance too.
TEST(BlockwiseAttentionPath, LearnedSlopesTakeNoMemoryForEachQueryAndKey) {
  constexpr int64_t kLength = 1024, kHeads = 4;
  const auto x = torch::randn({1, kHeads, kLength, 8});
  const auto slopes = torch::rand({kHeads}).requires_grad_();
  const testing_support::PeakMemory memory;
  const auto output =
      functional::scaled_dot_product_attention(x, x, x, AttentionMask::alibi(slopes)).output;
  torch::autograd::grad({output.sum()}, {slopes});
  EXPECT_LT(memory.peak(), kHeads * kLength * kLength * 4 / 8);
}

TEST(BlockwiseAttentionPath, LearnedSlopesGetTheirGradient) {
  const auto in = random_inputs({4, 6, 5, 3}, torch::kDouble);
  const auto slopes = torch::rand({kH}, torch::kDouble).requires_grad_();
  const auto distance =
      (torch::arange(6) - torch::arange(2, 6).unsqueeze(1)).abs().to(torch::kDouble);
  const auto of = [&](const AttentionMask& mask) {
    const auto output =
        functional::scaled_dot_product_attention(in.query, in.key, in.value, mask).output;
    return torch::autograd::grad({output.square().sum()}, {slopes})[0];
  };
  EXPECT_TENSOR_NEAR(of(AttentionMask::alibi(slopes)), of(-slopes.view({1, kH, 1, 1}) * distance),
                     1e-12);
}

TEST(BlockwiseAttentionPath, StridesDoNotMatter) {
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

TEST(BlockwiseAttentionPath, NumbersMayBeNegatedWhenTheyAreRead) {
  using testing_support::lazily_negated;
  const auto in = random_inputs({5, 7, 8, 9}, torch::kFloat);
  const auto output = functional::scaled_dot_product_attention(
      lazily_negated(in.query), lazily_negated(in.key), lazily_negated(in.value));
  const auto plain = functional::scaled_dot_product_attention(in.query, in.key, in.value);
  EXPECT_TENSOR_NEAR(output.output, -plain.output,
                     1e-6);  // two signs of the scores, one of the values
}

TEST(BlockwiseAttentionPath, InputsThatAreCopiedHaveSecondDerivatives) {
  const auto in = random_inputs({4, 5, 3, 2}, torch::kDouble);
  const auto bias = torch::randn({1, 1, 4, 5}, torch::kDouble);
  // Columns lie together, or rows.
  const auto second = [&](bool are_columns) {
    variable_list leaves, inputs;
    for (const auto& x : {in.query, in.key, in.value, bias}) {
      const auto leaf = are_columns ? x.transpose(2, 3).contiguous() : x.clone();
      leaves.push_back(leaf.requires_grad_());
      inputs.push_back(are_columns ? leaf.transpose(2, 3) : leaf);
    }
    const auto output = functional::scaled_dot_product_attention(inputs[0], inputs[1], inputs[2],
                                                                 AttentionMask(inputs[3]))
                            .output;
    auto sum = torch::zeros({}, torch::kDouble);
    for (const auto& first :
         torch::autograd::grad({output.square().sum()}, leaves, {}, true, true)) {
      sum = sum + first.square().sum();
    }
    auto found = torch::autograd::grad({sum}, leaves);
    for (auto& x : found) x = are_columns ? x.transpose(2, 3) : x;
    return found;
  };
  const auto found = second(true), wanted = second(false);
  for (size_t i = 0; i < wanted.size(); ++i) EXPECT_TENSOR_NEAR(found[i], wanted[i], 1e-12);
}

TEST(BlockwiseAttentionPath, JoiningTheHeadsOfItsOutputIsAView) {
  const auto [query, key, value] = random_inputs({6, 9, 5, 11}, torch::kFloat);
  const auto output = functional::scaled_dot_product_attention(query, key, value).output;
  EXPECT_EQ(functional::merge_heads(output).const_data_ptr(), output.const_data_ptr());
}

TEST(BlockwiseAttentionPath, TheNumberOfThreadsDoesNotChangeIt) {
  struct Case {
    int64_t heads, kv_heads, target, source;
  };
  // Many tasks; one head whose keys are divided for the backward pass; few queries of many keys. All
  // sentences and heads add to one gradient of the bias.
  for (const auto& c : {Case{6, 3, 150, 200}, Case{1, 1, 70, 1100}, Case{2, 1, 2, 2100}}) {
    const auto run = [&] {
      torch::manual_seed(3);
      const auto make = [&](int64_t heads, int64_t length) {
        return torch::randn({2, heads, length, 16}).requires_grad_();
      };
      const auto bias = torch::randn({1, 1, c.target, c.source}).requires_grad_();
      const auto q = make(c.heads, c.target), k = make(c.kv_heads, c.source),
                 v = make(c.kv_heads, c.source);
      const auto output = functional::scaled_dot_product_attention(
                              q, k, v, AttentionMask::window(180, 20) & AttentionMask(bias),
                              WeightsRequest::kNone, {.dropout_p = 0.3})
                              .output;
      auto all = torch::autograd::grad({output.square().sum()}, {q, k, v, bias});
      all.push_back(output.detach());
      return all;
    };
    const int threads = torch::get_num_threads();
    torch::set_num_threads(1);
    const auto one = run();
    for (const int more : {2, 3, 5}) {
      torch::set_num_threads(more);
      const auto found = run();
      for (size_t i = 0; i < one.size(); ++i) EXPECT_TENSOR_EQUAL(found[i], one[i]);
    }
    torch::set_num_threads(threads);
  }
}

// ---- Everything that an attention may have, against the formula in float64 ----

struct Everything {
  const char* name;
  int64_t heads, kv_heads, target, source, head_dim, value_dim;
  bool causal = false, window = false, lengths = false, dense = false, segments = false;
  bool alibi = false;
  std::vector<int64_t> bias = {};  // the sizes of a learned one
  bool relative_bias = false;      // a learned one
  bool fixed_bias = false;         // of the keys, beside them
  double soft_cap = 0.0;
  bool sinks = false;
};
void PrintTo(const Everything& c, std::ostream* stream) { *stream << c.name; }

const std::vector<Everything>& everything() {
  static const std::vector<Everything> cases{
      {.name = "Plain",
       .heads = 3,
       .kv_heads = 3,
       .target = 70,
       .source = 150,
       .head_dim = 17,
       .value_dim = 9},
      {.name = "Widest",
       .heads = 2,
       .kv_heads = 1,
       .target = 67,
       .source = 131,
       .head_dim = 256,
       .value_dim = 200},
      {.name = "OneQuery",
       .heads = 2,
       .kv_heads = 2,
       .target = 1,
       .source = 1300,
       .head_dim = 24,
       .value_dim = 40,
       .lengths = true},
      {.name = "FewQueriesOfAGroup",
       .heads = 4,
       .kv_heads = 2,
       .target = 2,
       .source = 700,
       .head_dim = 9,
       .value_dim = 70,
       .causal = true,
       .alibi = true,
       .soft_cap = 2.0,
       .sinks = true},
      {.name = "FewQueriesInAWindow",
       .heads = 1,
       .kv_heads = 1,
       .target = 4,
       .source = 1100,
       .head_dim = 12,
       .value_dim = 5,
       .window = true,
       .segments = true},
      {.name = "ManyShortOnesOfAGroup",
       .heads = 8,
       .kv_heads = 1,
       .target = 19,
       .source = 33,
       .head_dim = 8,
       .value_dim = 8,
       .causal = true,
       .lengths = true},
      {.name = "CausalLengths",
       .heads = 2,
       .kv_heads = 1,
       .target = 140,
       .source = 140,
       .head_dim = 20,
       .value_dim = 16,
       .causal = true,
       .lengths = true},
      {.name = "CausalSegments",
       .heads = 2,
       .kv_heads = 2,
       .target = 260,
       .source = 260,
       .head_dim = 8,
       .value_dim = 12,
       .causal = true,
       .segments = true},
      {.name = "WindowOverBlocks",
       .heads = 2,
       .kv_heads = 1,
       .target = 300,
       .source = 420,
       .head_dim = 10,
       .value_dim = 7,
       .window = true,
       .lengths = true},
      {.name = "MoreQueriesThanKeys",
       .heads = 1,
       .kv_heads = 1,
       .target = 150,
       .source = 40,
       .head_dim = 6,
       .value_dim = 6,
       .causal = true},
      {.name = "DenseWithEmptyRows",
       .heads = 2,
       .kv_heads = 2,
       .target = 66,
       .source = 137,
       .head_dim = 16,
       .value_dim = 33,
       .dense = true},
      {.name = "Alibi",
       .heads = 4,
       .kv_heads = 2,
       .target = 80,
       .source = 90,
       .head_dim = 16,
       .value_dim = 16,
       .causal = true,
       .alibi = true},
      {.name = "SoftCapOfAll",
       .heads = 2,
       .kv_heads = 1,
       .target = 75,
       .source = 140,
       .head_dim = 16,
       .value_dim = 16,
       .window = true,
       .lengths = true,
       .dense = true,
       .segments = true,
       .alibi = true,
       .bias = {1, 1, 75, 140},
       .soft_cap = 1.5,
       .sinks = true},
      {.name = "DividedKeys",
       .heads = 1,
       .kv_heads = 1,
       .target = 90,
       .source = 1200,
       .head_dim = 16,
       .value_dim = 24,
       .bias = {1, 1, 90, 1200}},
      {.name = "BiasOfHeads",
       .heads = 4,
       .kv_heads = 2,
       .target = 70,
       .source = 75,
       .head_dim = 12,
       .value_dim = 9,
       .causal = true,
       .bias = {1, 4, 70, 75}},
      {.name = "BiasOfSentences",
       .heads = 4,
       .kv_heads = 2,
       .target = 3,
       .source = 40,
       .head_dim = 8,
       .value_dim = 5,
       .lengths = true,
       .bias = {kB, 1, 3, 40}},
      {.name = "BiasOfKeys",
       .heads = 2,
       .kv_heads = 2,
       .target = 130,
       .source = 140,
       .head_dim = 8,
       .value_dim = 8,
       .bias = {kB, 1, 1, 140}},
      {.name = "BiasOfQueriesBesideSinks",
       .heads = 6,
       .kv_heads = 2,
       .target = 67,
       .source = 140,
       .head_dim = 8,
       .value_dim = 8,
       .bias = {1, 6, 67, 1},
       .sinks = true},
      {.name = "SinksOfManyKeys",
       .heads = 2,
       .kv_heads = 2,
       .target = 70,
       .source = 1100,
       .head_dim = 16,
       .value_dim = 8,
       .sinks = true},
      {.name = "SinksOfManyKeysOfAGroup",
       .heads = 4,
       .kv_heads = 2,
       .target = 67,
       .source = 1100,
       .head_dim = 8,
       .value_dim = 8,
       .sinks = true},
      {.name = "RelativeBias",
       .heads = 4,
       .kv_heads = 2,
       .target = 70,
       .source = 135,
       .head_dim = 33,
       .value_dim = 17,
       .relative_bias = true},
      {.name = "RelativeBiasCausalLengths",
       .heads = 3,
       .kv_heads = 3,
       .target = 140,
       .source = 140,
       .head_dim = 8,
       .value_dim = 12,
       .causal = true,
       .lengths = true,
       .relative_bias = true},
      {.name = "RelativeBiasOfOneQuery",
       .heads = 6,
       .kv_heads = 2,
       .target = 1,
       .source = 270,
       .head_dim = 9,
       .value_dim = 7,
       .window = true,
       .lengths = true,
       .relative_bias = true},
      {.name = "RelativeBiasOfOneKey",
       .heads = 2,
       .kv_heads = 1,
       .target = 9,
       .source = 1,
       .head_dim = 5,
       .value_dim = 3,
       .relative_bias = true,
       .sinks = true},
      {.name = "RelativeBiasOfMoreQueriesThanKeys",
       .heads = 1,
       .kv_heads = 1,
       .target = 150,
       .source = 40,
       .head_dim = 6,
       .value_dim = 11,
       .causal = true,
       .relative_bias = true},
      {.name = "RelativeBiasOfDividedKeys",
       .heads = 1,
       .kv_heads = 1,
       .target = 90,
       .source = 1200,
       .head_dim = 16,
       .value_dim = 24,
       .relative_bias = true},
      {.name = "RelativeBiasBesideAll",
       .heads = 4,
       .kv_heads = 2,
       .target = 75,
       .source = 140,
       .head_dim = 16,
       .value_dim = 13,
       .window = true,
       .lengths = true,
       .dense = true,
       .segments = true,
       .alibi = true,
       .relative_bias = true,
       .fixed_bias = true,
       .soft_cap = 1.5,
       .sinks = true},
      {.name = "RelativeBiasBesideALearnedOne",
       .heads = 2,
       .kv_heads = 2,
       .target = 67,
       .source = 130,
       .head_dim = 8,
       .value_dim = 8,
       .bias = {kB, 1, 1, 130},
       .relative_bias = true},
  };
  return cases;
}

class BlockwiseAttentionOf : public testing::TestWithParam<Everything> {
 protected:
  // kB sentences of one case; all in float64.
  struct Problem {
    variable_list inputs;  // query, key, value, sinks, bias, relative bias
    torch::Tensor allowed, bias, slope, slope_of_weights;
    AttentionMask mask;
  };

  Problem problem(uint64_t seed = 17) const {
    torch::manual_seed(seed);
    const auto& c = GetParam();
    const auto make = [](at::IntArrayRef sizes) { return torch::randn(sizes, torch::kDouble); };
    Problem p{.inputs = {make({kB, c.heads, c.target, c.head_dim}),
                         make({kB, c.kv_heads, c.source, c.head_dim}),
                         make({kB, c.kv_heads, c.source, c.value_dim}), torch::Tensor(),
                         torch::Tensor(), torch::Tensor()},
              .allowed = torch::ones({kB, 1, c.target, c.source}, torch::kBool),
              .bias = torch::zeros({1, c.heads, c.target, c.source}, torch::kDouble),
              .slope = make({kB, c.heads, c.target, c.value_dim}),
              .slope_of_weights = make({kB, c.heads, c.target, c.source}),
              .mask = {}};
    const auto keys = torch::arange(c.source);
    const auto ahead = keys - torch::arange(c.source - c.target, c.source).unsqueeze(1);
    const auto join = [&](const AttentionMask& part, const torch::Tensor& allowed) {
      p.mask = p.mask & part;
      p.allowed = p.allowed & allowed;
    };
    if (c.causal) join(AttentionMask::causal(), ahead.le(0));
    if (c.window) join(AttentionMask::window(150, 7), ahead.ge(-150) & ahead.le(7));
    if (c.lengths) {
      const auto lengths = torch::tensor({c.source - 3, c.source / 2});
      join(AttentionMask::key_lengths(lengths), keys.lt(lengths.view({kB, 1, 1, 1})));
    }
    if (c.dense) {
      auto dense = torch::rand({kB, 1, c.target, c.source}) < 0.4;
      dense.select(2, c.target / 2).fill_(false);
      join(AttentionMask(dense), dense);
    }
    if (c.segments) {  // of different lengths, and one that comes back
      const auto of_keys = torch::stack({keys.div(90, "floor"), keys.div(50, "floor") % 3});
      const auto of_queries = of_keys.narrow(1, c.source - c.target, c.target);
      join(AttentionMask::segments(of_queries, of_keys),
           of_queries.unsqueeze(2).eq(of_keys.unsqueeze(1)).unsqueeze(1));
    }
    if (c.alibi) {
      const auto slopes = torch::rand({c.heads}, torch::kDouble);
      p.mask = p.mask & AttentionMask::alibi(slopes);
      p.bias = p.bias - slopes.view({1, -1, 1, 1}) * ahead.abs();
    }
    if (!c.bias.empty()) p.inputs[4] = make(c.bias);
    if (c.relative_bias) p.inputs[5] = make({c.heads, c.target + c.source - 1});
    if (c.fixed_bias) {
      const auto bias = make({1, 1, 1, c.source});
      p.mask = p.mask & AttentionMask(bias);
      p.bias = p.bias + bias;
    }
    if (c.sinks) p.inputs[3] = make({c.heads});
    return p;
  }

  // In the dtype of the inputs, operation by operation; `kept`: what dropout multiplies weights with.
  torch::Tensor formula(const variable_list& x, const Problem& p,
                        const torch::Tensor& kept = {}) const {
    auto weights = formula_weights(x, p);
    if (kept.defined()) weights = weights * kept.to(weights.scalar_type());
    const auto& c = GetParam();
    return torch::matmul(weights, x[2].repeat_interleave(c.heads / c.kv_heads, 1));
  }

  torch::Tensor formula_weights(const variable_list& x, const Problem& p) const {
    const auto& c = GetParam();
    const auto heads = [&](const torch::Tensor& y) {
      return y.repeat_interleave(c.heads / c.kv_heads, 1);
    };
    auto scores = torch::matmul(x[0], heads(x[1]).transpose(-2, -1)) /
                  std::sqrt(static_cast<double>(c.head_dim));
    if (c.soft_cap > 0) scores = torch::tanh(scores / c.soft_cap) * c.soft_cap;
    scores = scores + p.bias.to(scores.scalar_type());
    if (x[4].defined()) scores = scores + x[4];
    if (x[5].defined()) {
      const auto ahead =
          torch::arange(c.source) - torch::arange(c.source - c.target, c.source).unsqueeze(1);
      scores = scores + x[5].index_select(1, (ahead + c.source - 1).flatten())
                            .view({1, c.heads, c.target, c.source});
    }
    scores = scores.masked_fill(p.allowed.logical_not(), -1e30);
    if (c.sinks) {
      scores = torch::cat({scores, x[3].view({1, -1, 1, 1}).expand({kB, -1, c.target, 1})}, 3);
    }
    const auto weights = torch::softmax(scores, -1).narrow(3, 0, c.source);
    return weights.masked_fill(p.allowed.logical_not(), 0.0);
  }

  static AttentionMask mask(const variable_list& x, const Problem& p) {
    const auto result = p.mask & AttentionMask(x[4]);
    return x[5].defined() ? result & AttentionMask::relative_bias(x[5]) : result;
  }

  torch::Tensor attend(const variable_list& x, const Problem& p, double dropout_p = 0.0) const {
    return functional::scaled_dot_product_attention(
               x[0], x[1], x[2], mask(x, p), WeightsRequest::kNone,
               {.dropout_p = dropout_p, .soft_cap = GetParam().soft_cap, .sinks = x[3]})
        .output;
  }

  // The gradients and the output.
  template <typename F>
  static variable_list results(const Problem& p, torch::Dtype dtype, const F& f) {
    return results_of(p, dtype, {p.slope}, [&](const auto& x) -> variable_list { return {f(x)}; });
  }
  // The same with the weights.
  template <typename F>
  static variable_list results_with_weights(const Problem& p, torch::Dtype dtype, bool is_mean,
                                            const F& f) {
    const auto slope = is_mean ? p.slope_of_weights.select(1, 0) : p.slope_of_weights;
    return results_of(p, dtype, {p.slope, slope}, [&](const auto& x) -> variable_list {
      const auto [output, weights] = f(x);
      return {output, weights};
    });
  }
  template <typename F>
  static variable_list results_of(const Problem& p, torch::Dtype dtype, const variable_list& slopes,
                                  const F& f) {
    variable_list leaves, wanted, of_outputs;
    for (const auto& x : p.inputs) {
      leaves.push_back(x.defined() ? x.to(dtype, false, /*copy=*/true).requires_grad_() : x);
      if (x.defined()) wanted.push_back(leaves.back());
    }
    for (const auto& slope : slopes) of_outputs.push_back(slope.to(dtype));
    const auto outputs = f(leaves);
    auto all = torch::autograd::grad(outputs, wanted, of_outputs);
    for (const auto& output : outputs) all.push_back(output.detach());
    return all;
  }

  // by_formula(problem, dtype) and by_kernel(problem, dtype) are the same, in float32 with at most
  // twice the error of the formula and 4 eps of the largest value: over three draws, since of one
  // the formula may happen to have little error.
  template <typename Formula, typename Kernel>
  void expect_the_formula(const Formula& by_formula, const Kernel& by_kernel) const {
    struct Errors {
      double kernel = 0.0, formula = 0.0, largest = 0.0;
    };
    std::map<int64_t, std::vector<Errors>> of_sets;
    for (const uint64_t seed : {17, 18, 19}) {
      const auto p = problem(seed);
      const auto exact = by_formula(p, torch::kDouble), naive = by_formula(p, torch::kFloat);
      int64_t set = 0;
      testing_support::for_each_instruction_set([&] {
        const auto found = by_kernel(p, torch::kDouble), rounded = by_kernel(p, torch::kFloat);
        auto& errors = of_sets[set++];
        errors.resize(exact.size());
        for (size_t i = 0; i < exact.size(); ++i) {
          SCOPED_TRACE(i);
          const auto largest = exact[i].abs().max().template item<double>();
          EXPECT_TENSOR_NEAR(found[i], exact[i], 2e-12 * std::max(largest, 1.0));
          const auto error = [&](const torch::Tensor& x) {
            return (x.to(torch::kDouble) - exact[i]).abs().max().template item<double>();
          };
          auto& e = errors[i];
          e.kernel = std::max(e.kernel, error(rounded[i]));
          e.formula = std::max(e.formula, error(naive[i]));
          e.largest = std::max(e.largest, largest);
        }
      });
    }
    for (const auto& [set, errors] : of_sets) {
      for (size_t i = 0; i < errors.size(); ++i) {
        const auto& e = errors[i];
        EXPECT_LE(e.kernel, 2 * e.formula + 4 * std::numeric_limits<float>::epsilon() * e.largest)
            << "set " << set << ", tensor " << i;
      }
    }
  }
};
INSTANTIATE_TEST_SUITE_P(Cases, BlockwiseAttentionOf, testing::ValuesIn(everything()),
                         testing::PrintToStringParamName());

TEST_P(BlockwiseAttentionOf, IsTheFormulaOnEveryInstructionSet) {
  expect_the_formula(
      [&](const Problem& p, torch::Dtype dtype) {
        return results(p, dtype, [&](const variable_list& x) { return formula(x, p); });
      },
      [&](const Problem& p, torch::Dtype dtype) {
        return results(p, dtype, [&](const variable_list& x) { return attend(x, p); });
      });
}

// Each weight and their mean, beside the output, and what their gradients add to its.
TEST_P(BlockwiseAttentionOf, RequestedWeightsAreThoseOfTheFormulaOnEveryInstructionSet) {
  for (const auto kind : {WeightsRequest::kPerHead, WeightsRequest::kMean}) {
    const bool is_mean = kind == WeightsRequest::kMean;
    SCOPED_TRACE(is_mean ? "the mean" : "each");
    expect_the_formula(
        [&](const Problem& p, torch::Dtype dtype) {
          return results_with_weights(p, dtype, is_mean, [&](const variable_list& x) {
            const auto weights = formula_weights(x, p);
            return AttentionOutput{formula(x, p), is_mean ? weights.mean(1) : weights};
          });
        },
        [&](const Problem& p, torch::Dtype dtype) {
          return results_with_weights(p, dtype, is_mean, [&](const variable_list& x) {
            return functional::scaled_dot_product_attention(
                x[0], x[1], x[2], mask(x, p), kind,
                {.soft_cap = GetParam().soft_cap, .sinks = x[3]});
          });
        });
  }
}

// Of values that are a unit matrix, the output is the weights: what dropout did to them is seen, and
// a dropout of the same seed does it again.
TEST_P(BlockwiseAttentionOf, DropoutZeroesWeightsAndScalesTheOthers) {
  const auto& c = GetParam();
  if (c.source > 300) GTEST_SKIP() << "a unit matrix of " << c.source << " keys is large";
  const auto p = problem();
  constexpr double kP = 0.25;
  constexpr uint64_t kSeed = 21;
  auto unit = p.inputs;
  unit[2] = torch::eye(c.source, torch::kDouble).expand({kB, c.kv_heads, c.source, c.source});
  const auto weights = attend(unit, p);
  const auto drawn = [&] {
    const functional::DropoutSeed seed(kSeed);
    return attend(unit, p, kP);
  };
  const auto kept =
      torch::where(weights.gt(1e-12), drawn() / weights, torch::ones({}, torch::kDouble));
  EXPECT_TRUE((kept.abs().lt(1e-9) | (kept - 1 / (1 - kP)).abs().lt(1e-9) | weights.le(1e-12))
                  .all()
                  .item<bool>());
  const auto share = kept.lt(0.5).masked_select(weights.gt(1e-12)).to(torch::kDouble);
  const auto count = static_cast<double>(share.numel());
  EXPECT_NEAR(share.mean().item<double>(), kP, 5 * std::sqrt(kP * (1 - kP) / count));

  const auto exact = results(p, torch::kDouble, [&](const auto& x) { return formula(x, p, kept); });
  testing_support::for_each_instruction_set([&] {
    const auto found = results(p, torch::kDouble, [&](const auto& x) {
      const functional::DropoutSeed seed(kSeed);
      return attend(x, p, kP);
    });
    for (size_t i = 0; i < exact.size(); ++i) {
      EXPECT_TENSOR_NEAR(found[i], exact[i], 1e-11 * exact[i].abs().max().item<double>()) << i;
    }
  });
}

TEST(BlockwiseAttentionDropout, SecondDerivativesAreThoseOfTheSameMask) {
  torch::manual_seed(4);
  const auto make = [](int64_t length) {
    return torch::randn({kB, kH, length, 3}, torch::kDouble);
  };
  const auto query = make(4), key = make(6), value = make(6);
  constexpr double kP = 0.4;
  const auto attend = [&](const variable_list& x, const torch::Tensor& values) {
    const functional::DropoutSeed seed(5);
    return functional::scaled_dot_product_attention(x[0], x[1], values, {}, WeightsRequest::kNone,
                                                    {.dropout_p = kP})
        .output;
  };
  const auto unit = torch::eye(6, torch::kDouble).expand({kB, kH, 6, 6});
  const auto kept = attend({query, key}, unit).ne(0).to(torch::kDouble) * 65536.0 /
                    (65536.0 - std::round(kP * 65536.0));
  const auto second = [&](const auto& f) {
    variable_list x{query.clone().requires_grad_(), key.clone().requires_grad_(),
                    value.clone().requires_grad_()};
    const auto first = torch::autograd::grad({f(x).square().sum()}, x, {}, true, true);
    return torch::autograd::grad({first[0].square().sum() + first[1].square().sum()}, x);
  };
  const auto found = second([&](const variable_list& x) { return attend({x[0], x[1]}, x[2]); });
  const auto wanted = second([&](const variable_list& x) {
    const auto weights =
        torch::softmax(torch::matmul(x[0], x[1].transpose(-2, -1)) / std::sqrt(3.0), -1);
    return torch::matmul(weights * kept, x[2]);
  });
  for (size_t i = 0; i < 3; ++i) EXPECT_TENSOR_NEAR(found[i], wanted[i], 1e-10);
}

TEST(BlockwiseAttentionDropout, ItsProbabilityIsRoundedTo16BitsAndItsScaleWithIt) {
  const auto query = torch::zeros({1, 1, 600, 4}, torch::kDouble);
  const auto value = torch::ones({1, 1, 500, 1}, torch::kDouble);
  const auto output =
      functional::scaled_dot_product_attention(query, query.narrow(2, 0, 500), value, {},
                                               WeightsRequest::kNone, {.dropout_p = 0.1})
          .output;
  EXPECT_NEAR(output.mean().item<double>(), 1.0, 5 * std::sqrt(0.1 / 0.9 / (600.0 * 500.0)));
  EXPECT_GT(output.std().item<double>(), 0.0);
}

}  // namespace
}  // namespace attend::blockwise_attention_test
