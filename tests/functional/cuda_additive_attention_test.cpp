// The host's side of the kernels for CUDA, with tensors of the CPU and fibres for a GPU's threads: what
// memory they get, what becomes of their parts, and how exact they are beside the formula.
#include "functional/cuda_additive_attention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/cuda_host_kernels.h"
#include "support/tensor_assert.h"

namespace attend::cuda_additive_attention_test {
namespace {

using functional::AdditiveInputs;
using torch::autograd::variable_list;

constexpr double kHidden = -std::numeric_limits<double>::infinity();

kernels_test::Fibres& fibres() {
  static kernels_test::Fibres result(kernels::cuda::kThreads, kernels_test::Schedule::kFirst);
  return result;
}

// As src/kernels/cuda/additive_attention.cu has them.
functional::CudaKernels host_kernels() {
  return {
      .additive = {.forward = [](const kernels::AdditiveAttention<float>& a,
                                 const kernels::AdditiveResult<float>& result, bool is_approximate,
                                 void* /*stream*/) -> const char* {
                     kernels_test::run_forward(fibres(), a, result, is_approximate);
                     return nullptr;
                   },
                   .backward = [](const kernels::AdditiveAttention<float>& a,
                                  const kernels::cuda::AdditiveUpstream<float>& upstream,
                                  const kernels::cuda::AdditiveQueryGradients<float>& of_queries,
                                  const kernels::cuda::AdditiveKeyGradients<float>& of_keys,
                                  bool is_approximate, void* /*stream*/) -> const char* {
                     kernels_test::run_backward(fibres(), a, upstream, of_queries, of_keys,
                                                is_approximate);
                     return nullptr;
                   },
                   .is_captured = [](void* /*stream*/) { return false; }},
      .is_approximate = false,
      .stream = nullptr};
}

struct Sizes {
  int64_t batch, heads, target, source, hidden, value;
};

// Output, scores, and the gradients of query, key, vector, value, bias and key term.
using Results = variable_list;

// In the dtype of the inputs, operation by operation.
Results by_formula(const AdditiveInputs& in, const torch::Tensor& of_output,
                   const torch::Tensor& of_scores) {
  const auto sums = in.query.unsqueeze(3) + in.key.unsqueeze(2);
  const auto& p = in.parameters;
  const auto f = p.score_function == ScoreFunction::kTanh
                     ? torch::tanh(sums)
                     : torch::leaky_relu(sums, p.negative_slope);
  auto scores = torch::matmul(f, in.vector.view({1, in.vector.size(0), 1, -1, 1})).squeeze(-1);
  scores = scores * p.scale.value_or(1.0);
  if (p.key_term.defined()) scores = scores + p.key_term.unsqueeze(2);
  if (p.score_clip > 0.0) scores = p.score_clip * torch::tanh(scores);
  const auto& mask = in.mask;
  if (mask.bias.defined()) {
    const auto target = in.query.size(2), source = in.key.size(2);
    const auto last = torch::arange(source - target, source).unsqueeze(1) + mask.band.right;
    const auto is_seen = torch::arange(source).le(last).logical_and(mask.allowed);
    scores = (scores + mask.bias).masked_fill(is_seen.logical_not(), kHidden);
  }
  const auto output = torch::matmul(torch::softmax(scores, -1), in.value);
  variable_list leaves{in.query, in.key, in.vector, in.value};
  for (const auto& x : {in.mask.bias, p.key_term}) {
    if (x.defined()) leaves.push_back(x);
  }
  Results results{output, scores};
  const auto gradients = torch::autograd::grad({output, scores}, leaves, {of_output, of_scores});
  results.insert(results.end(), gradients.begin(), gradients.end());
  return results;
}

Results by_kernels(const AdditiveInputs& in, const torch::Tensor& of_output,
                   const torch::Tensor& of_scores) {
  const torch::NoGradGuard no_grad;
  const auto kernels = host_kernels();
  const auto found = functional::cuda_additive_forward(in, true, kernels);
  const auto g = functional::cuda_additive_backward(in, found.output, found.sums, of_output,
                                                    of_scores, kernels);
  Results results{found.output, found.scores, g.query, g.key, g.vector, g.value};
  if (in.mask.bias.defined()) results.push_back(g.bias);
  if (in.parameters.key_term.defined()) results.push_back(g.key_term);
  return results;
}

AdditiveInputs in_dtype(const AdditiveInputs& in, torch::Dtype dtype) {
  const auto leaf = [&](const torch::Tensor& x) {
    return x.defined() ? x.detach().to(dtype, false, /*copy=*/true).requires_grad_() : x;
  };
  auto result = in;
  result.query = leaf(in.query);
  result.key = leaf(in.key);
  result.vector = leaf(in.vector);
  result.value = leaf(in.value);
  result.mask.bias = leaf(in.mask.bias);
  result.parameters.key_term = leaf(in.parameters.key_term);
  return result;
}

// In float64, without a mask or with all that it can consist of. Each query sees the first key.
AdditiveInputs with_options(const Sizes& s, ScoreFunction function, bool has_options) {
  const auto doubles = [](at::IntArrayRef sizes) { return torch::randn(sizes, torch::kDouble); };
  // Heads are joined in memory, as a module has them.
  const auto of_heads = [&](int64_t length, int64_t dim) {
    return doubles({s.batch, length, s.heads, dim}).transpose(1, 2);
  };
  AdditiveInputs in{.query = of_heads(s.target, s.hidden),
                    .key = of_heads(s.source, s.hidden),
                    .value = of_heads(s.source, s.value),
                    .vector = doubles({s.heads, s.hidden}),
                    .mask = {},
                    .parameters = {.scale = 0.7, .score_function = function}};
  if (!has_options) return in;
  in.parameters.score_clip = 4.0;
  in.parameters.key_term = doubles({s.batch, s.heads, s.source});
  in.mask.band.right = 0;
  in.mask.allowed = torch::rand({s.batch, 1, 1, s.source}) < 0.7;
  in.mask.allowed.select(3, 0).fill_(true);
  in.mask.bias = doubles({1, s.heads, s.target, s.source});
  return in;
}

double largest_error(const torch::Tensor& x, const torch::Tensor& exact) {
  const auto is_hidden = exact.eq(kHidden);
  return (x.to(torch::kDouble) - exact).masked_fill(is_hidden, 0.0).abs().max().item<double>();
}

class HostedAdditive : public testing::TestWithParam<ScoreFunction> {};
INSTANTIATE_TEST_SUITE_P(Functions, HostedAdditive,
                         testing::Values(ScoreFunction::kTanh, ScoreFunction::kLeakyRelu));

TEST_P(HostedAdditive, ErrorsAreAtMostTwiceThoseOfTheFormula) {
  torch::manual_seed(3);
  for (const auto& s : {Sizes{2, 2, 19, 70, 37, 9}, Sizes{2, 3, 3, 140, 33, 40}}) {
    for (const bool has_options : {false, true}) {
      std::vector<double> ours, formula, largest;
      // Of fewer draws the largest errors are too much a matter of chance.
      for (int draw = 0; draw < 12; ++draw) {
        const auto in = with_options(s, GetParam(), has_options);
        const auto of_output = torch::randn({s.batch, s.heads, s.target, s.value}, torch::kDouble);
        const auto of_scores =
            0.1 * torch::randn({s.batch, s.heads, s.target, s.source}, torch::kDouble);
        const auto floats = in_dtype(in, torch::kFloat);
        const auto exact = by_formula(in_dtype(floats, torch::kDouble),
                                      of_output.to(torch::kFloat).to(torch::kDouble),
                                      of_scores.to(torch::kFloat).to(torch::kDouble));
        const auto plain =
            by_formula(floats, of_output.to(torch::kFloat), of_scores.to(torch::kFloat));
        const auto got =
            by_kernels(floats, of_output.to(torch::kFloat), of_scores.to(torch::kFloat));
        ASSERT_EQ(got.size(), exact.size());
        ours.resize(exact.size());
        formula.resize(exact.size());
        largest.resize(exact.size());
        for (size_t i = 0; i < exact.size(); ++i) {
          ASSERT_EQ(got[i].sizes(), exact[i].sizes());
          ASSERT_TRUE(got[i].eq(kHidden).equal(exact[i].eq(kHidden)));
          ours[i] = std::max(ours[i], largest_error(got[i], exact[i]));
          formula[i] = std::max(formula[i], largest_error(plain[i], exact[i]));
          largest[i] =
              std::max(largest[i],
                       exact[i].masked_fill(exact[i].eq(kHidden), 0.0).abs().max().item<double>());
        }
      }
      for (size_t i = 0; i < ours.size(); ++i) {
        EXPECT_LE(ours[i], 2 * formula[i] + 4 * 0x1p-23 * largest[i])
            << "result " << i << ", T = " << s.target << ", options " << has_options;
      }
    }
  }
}

TEST_P(HostedAdditive, WhatIsNotWantedIsNotMade) {
  torch::manual_seed(4);
  const Sizes s{2, 3, 5, 7, 6, 4};
  auto in = in_dtype(with_options(s, GetParam(), true), torch::kFloat);
  const torch::NoGradGuard no_grad;
  const auto of_output = torch::randn({s.batch, s.heads, s.target, s.value});
  const auto kernels = host_kernels();
  const auto found = functional::cuda_additive_forward(in, false, kernels);
  EXPECT_FALSE(found.scores.defined());
  const auto all =
      functional::cuda_additive_backward(in, found.output, found.sums, of_output, {}, kernels);
  in.value.requires_grad_(false);
  in.mask.bias.requires_grad_(false);
  const auto few =
      functional::cuda_additive_backward(in, found.output, found.sums, of_output, {}, kernels);
  EXPECT_FALSE(few.value.defined() || few.bias.defined());
  EXPECT_TENSOR_EQUAL(few.query, all.query);
  EXPECT_TENSOR_EQUAL(few.key, all.key);
  EXPECT_TENSOR_EQUAL(few.vector, all.vector);
}

TEST(HostedAdditiveErrors, AKernelThatDoesNotStartIsNamed) {
  auto kernels = host_kernels();
  kernels.additive.forward = [](const kernels::AdditiveAttention<float>& /*a*/,
                                const kernels::AdditiveResult<float>& /*result*/,
                                bool /*is_approximate*/, void* /*stream*/) -> const char* {
    return "no kernel image is available";
  };
  const auto in =
      in_dtype(with_options({1, 2, 3, 5, 4, 6}, ScoreFunction::kTanh, false), torch::kFloat);
  EXPECT_THROW_MESSAGE(functional::cuda_additive_forward(in, false, kernels), c10::Error,
                       "additive_attention: expected its CUDA kernels to start, got: no kernel "
                       "image is available");
}

}  // namespace
}  // namespace attend::cuda_additive_attention_test
