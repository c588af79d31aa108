// The weights that a request names, out of all there are: on every path the same numbers, and no more
// memory than they need.
#include "attend/functional/weights_request.h"

#include <gtest/gtest.h>

#include "attend/functional/attention.h"
#include "support/module_checks.h"
#include "support/peak_memory.h"
#include "support/tensor_assert.h"

namespace attend::weights_request_test {
namespace {

using functional::AttentionParameters;
using functional::scaled_dot_product_attention;

// Sizes of one attention, and what makes it take another path.
struct RequestCase {
  const char* name;
  int64_t target, source;
  AttentionParameters parameters = {};
};

std::vector<RequestCase> request_cases() {
  return {{"ShortKernel", 6, 9},
          {"LibTorch", 140, 150},
          {"Scores", 6, 9, {.soft_cap = 1.5}},
          {"Sinks", 6, 9, {.sinks = torch::randn({4}, torch::kDouble)}}};
}

class WeightsRequestOf : public testing::TestWithParam<RequestCase> {
 protected:
  WeightsRequestOf() { torch::manual_seed(2); }
  torch::Tensor random(at::IntArrayRef sizes) const { return torch::randn(sizes, torch::kDouble); }

  // Of grouped keys, under a mask of each kind.
  const RequestCase& c = GetParam();
  torch::Tensor query = random({2, 4, c.target, 6});
  torch::Tensor key = random({2, 2, c.source, 6}), value = random({2, 2, c.source, 5});
  std::vector<AttentionMask> masks{
      {},
      AttentionMask::causal(),
      AttentionMask::window(3, 1),
      AttentionMask(random({1, 4, c.target, c.source})) & AttentionMask::causal(),
      AttentionMask(random({2, 1, c.target, c.source}) > -0.5) &
          AttentionMask::key_lengths(torch::tensor({c.source, c.source - 4}))};

  torch::Tensor weights(const AttentionMask& mask, const WeightsRequest& request) const {
    return scaled_dot_product_attention(query, key, value, mask, request, c.parameters).weights;
  }
};

INSTANTIATE_TEST_SUITE_P(All, WeightsRequestOf, testing::ValuesIn(request_cases()),
                         [](const auto& test) { return test.param.name; });

TEST_P(WeightsRequestOf, ChosenHeadsAndQueriesAreThoseOfAllWeights) {
  const WeightsRequest every = WeightsRequest::kPerHead, mean = WeightsRequest::kMean;
  const auto heads = torch::tensor({3, 0, 1}), queries = torch::tensor({c.target - 1, int64_t{2}});
  for (const auto& mask : masks) {
    for (const bool gradients : {false, true}) {
      query.requires_grad_(gradients);
      const auto all = weights(mask, every);
      auto request = every;
      EXPECT_TENSOR_NEAR(weights(mask, request.heads({3, 0, -3})), all.index_select(1, heads),
                         1e-12);
      EXPECT_TENSOR_NEAR(weights(mask, request.queries({-1, 2})),
                         all.index_select(1, heads).index_select(2, queries), 1e-12);
      request = mean;
      EXPECT_TENSOR_NEAR(weights(mask, request), all.mean(1), 1e-12);
      EXPECT_TENSOR_NEAR(weights(mask, request.queries({-1, 2})),
                         all.index_select(2, queries).mean(1), 1e-12);
      EXPECT_TENSOR_NEAR(weights(mask, request.heads({3, 0, -3})),
                         all.index_select(1, heads).index_select(2, queries).mean(1), 1e-12);
    }
  }
}

TEST_P(WeightsRequestOf, MeansHaveTheGradientsOfTheWhole) {
  const auto bias = random({1, 4, c.target, c.source}).requires_grad_();
  query.requires_grad_();
  key.requires_grad_();
  const auto mask = AttentionMask::causal() & AttentionMask(bias);
  auto parameters = c.parameters;
  if (parameters.sinks.defined()) parameters.sinks = parameters.sinks.clone().requires_grad_();
  std::vector<torch::Tensor> inputs{query, key, bias};
  if (parameters.sinks.defined()) inputs.push_back(parameters.sinks);
  const auto factor = random({2, c.target, c.source});
  const auto gradients = [&](const WeightsRequest& request) {
    const auto found =
        scaled_dot_product_attention(query, key, value, mask, request, parameters).weights;
    const auto mean = request.kind() == WeightsRequest::kMean ? found : found.mean(1);
    return torch::autograd::grad({(mean * factor).sum()}, inputs);
  };
  const auto expected = gradients(WeightsRequest::kPerHead), got = gradients(WeightsRequest::kMean);
  for (size_t i = 0; i < inputs.size(); ++i) EXPECT_TENSOR_NEAR(got[i], expected[i], 1e-12);
}

TEST(WeightsRequest, MeansCanBeDifferentiatedTwice) {
  const auto query = torch::randn({1, 2, 3, 4}, torch::kDouble).requires_grad_();
  const auto key = torch::randn({1, 2, 5, 4}, torch::kDouble).requires_grad_();
  testing_support::expect_gradients_match_differences(
      [&] {
        const torch::AutoGradMode record(true);
        const auto mean = scaled_dot_product_attention(query, key, key, {}, WeightsRequest::kMean,
                                                       {.soft_cap = 2.0})
                              .weights;
        return torch::autograd::grad({mean.square().sum()}, {query}, {}, true,
                                     /*create_graph=*/true)[0];
      },
      {{"query", query}, {"key", key}});
}

// T = S = 1024 with 8 heads: a [B, H, T, S] tensor of float32 has 32 MiB.
TEST(WeightsRequest, WhatIsNotAskedForIsNeverHeld) {
  constexpr int64_t kLength = 1024, kHeads = 8;
  constexpr int64_t kAll = kHeads * kLength * kLength * 4;
  const auto query = torch::randn({1, kHeads, kLength, 16}).requires_grad_();
  const auto key = torch::randn({1, kHeads, kLength, 16}).requires_grad_();
  const auto value = torch::randn({1, kHeads, kLength, 16});
  const auto peak = [&](const WeightsRequest& request, bool backward) {
    const torch::AutoGradMode mode(backward);
    testing_support::PeakMemory memory;
    auto [output, weights] =
        scaled_dot_product_attention(query, key, value, AttentionMask::causal(), request);
    if (backward) torch::autograd::grad({output.sum() + weights.square().sum()}, {query, key});
    return memory.peak();
  };
  const WeightsRequest every = WeightsRequest::kPerHead, mean = WeightsRequest::kMean;
  EXPECT_GE(peak(every, false), kAll);
  // Blocks of half of it, a few of them at a time, would be as much: 4 M scores are 16 MiB.
  EXPECT_LT(peak(WeightsRequest(every).queries({0, -1}), false), kAll / 8);
  EXPECT_LT(peak(WeightsRequest(every).heads({3}), false), kAll);
  constexpr int64_t kLong = 4 * kLength;
  const auto long_query = torch::randn({1, kHeads, kLong, 4}).requires_grad_();
  const auto long_peak = [&](bool backward) {
    const torch::AutoGradMode mode(backward);
    testing_support::PeakMemory memory;
    auto [output, weights] =
        scaled_dot_product_attention(long_query, long_query, long_query, {}, mean);
    if (backward) torch::autograd::grad({output.sum() + weights.sum()}, {long_query});
    return memory.peak();
  };
  // All of them would take 512 MiB, and their mean takes 64 MiB.
  EXPECT_LT(long_peak(false), 16 * kAll / 3);
  EXPECT_LT(long_peak(true), 16 * kAll / 2);
}

TEST(WeightsRequest, InputWithoutHeadsHasOne) {
  const auto x = torch::randn({2, 5, 4}, torch::kDouble);
  const auto all = scaled_dot_product_attention(x, x, x, {}, WeightsRequest::kPerHead).weights;
  const auto some = scaled_dot_product_attention(
                        x, x, x, {}, WeightsRequest(WeightsRequest::kPerHead).queries({-1, 0}))
                        .weights;
  EXPECT_TENSOR_EQUAL(some, all.index_select(1, torch::tensor({4, 0})));
  const auto additive =
      functional::additive_attention(x, x, torch::ones({4}, torch::kDouble), x, {},
                                     WeightsRequest(WeightsRequest::kPerHead).queries({1}));
  EXPECT_EQ(additive.weights.sizes(), (std::vector<int64_t>{2, 1, 5}));
}

TEST(WeightsRequest, ErrorsNameWhatWasExpectedAndGot) {
  const auto x = torch::randn({2, 4, 5, 6});
  const auto ask = [&](const WeightsRequest& request) {
    return scaled_dot_product_attention(x, x, x, {}, request);
  };
  EXPECT_THROW_MESSAGE(ask(WeightsRequest(WeightsRequest::kMean).heads({0, 4})), c10::ValueError,
                       "scaled_dot_product_attention: expected heads of the weights request in "
                       "[-4, 4), got 4");
  EXPECT_THROW_MESSAGE(ask(WeightsRequest(WeightsRequest::kPerHead).queries({-6})), c10::ValueError,
                       "scaled_dot_product_attention: expected queries of the weights request in "
                       "[-5, 5), got -6");
  EXPECT_THROW_MESSAGE(
      functional::additive_attention(x[0], x[0], torch::ones({6}), x[0], {},
                                     WeightsRequest(WeightsRequest::kMean).heads({1})),
      c10::ValueError,
      "additive_attention: expected heads of the weights request in [-1, 1), got 1");
}

}  // namespace
}  // namespace attend::weights_request_test
