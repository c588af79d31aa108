#include "attend/modules/scaled_dot_product_attention.h"

#include <gtest/gtest.h>

#include <cmath>

#include "support/devices.h"
#include "support/module_checks.h"
#include "support/oracle.h"
#include "support/tensor_assert.h"

namespace attend::scaled_dot_product_attention_test {
namespace {

using testing_support::DeviceTest;
using testing_support::expect_finite_gradients;

constexpr int64_t kB = 2, kT = 3, kS = 5, kD = 6, kDv = 7;

TEST(ScaledDotProductAttention, IsTheWeightedMeanByHand) {
  ScaledDotProductAttention attention;
  const auto query = torch::tensor({{{2.0, 0.0, 0.0, 0.0}}}, torch::kDouble);
  // Scores 0 and 2 ln 3 / sqrt(4) = ln 3: weights 1/4 and 3/4.
  const auto key =
      torch::tensor({{{0.0, 1.0, 2.0, 3.0}, {std::log(3.0), 9.0, 9.0, 9.0}}}, torch::kDouble);
  const auto value = torch::tensor({{{4.0}, {8.0}}}, torch::kDouble);
  const auto [output, weights] =
      attention(query, key, value, AttentionMask(), WeightsRequest::kPerHead);
  EXPECT_TENSOR_NEAR(weights, torch::tensor({{{0.25, 0.75}}}, torch::kDouble), 1e-15);
  EXPECT_TENSOR_NEAR(output, torch::tensor({{{7.0}}}, torch::kDouble), 1e-14);
}

class ScaledDotProductAttentionOn : public DeviceTest {};
ATTEND_INSTANTIATE_ON_DEVICES(ScaledDotProductAttentionOn);

TEST_P(ScaledDotProductAttentionOn, AgreesWithTheOracle) {
  auto attention =
      placed(ScaledDotProductAttention(ScaledDotProductAttentionOptions().scale(0.7).dropout(0.5)));
  const auto query = randn({kB, kT, kD}), key = randn({kB, kS, kD}), value = randn({kB, kS, kDv});
  const auto allowed = (torch::rand({kT, kS}) < 0.7).to(options().device());
  const auto [output, weights] =
      attention(query, key, value, AttentionMask(allowed), WeightsRequest::kPerHead);
  const auto expected = oracle::attention(query.unsqueeze(1), key.unsqueeze(1), value.unsqueeze(1),
                                          {allowed, {}}, 0.7);
  EXPECT_TENSOR_NEAR(output, expected.output.squeeze(1), tolerance());
  EXPECT_TENSOR_NEAR(weights, expected.weights.squeeze(1), tolerance());
}

TEST_P(ScaledDotProductAttentionOn, AQueryWithoutAKeyGetsZeros) {
  for (const double dropout : {0.0, 0.5}) {
    auto attention =
        placed(ScaledDotProductAttention(ScaledDotProductAttentionOptions().dropout(dropout)));
    attention->train();
    const auto query = randn({kB, kT, kD}).requires_grad_(),
               key = randn({kB, 2, kD}).requires_grad_();
    const auto [output, weights] =
        attention(query, key, key, AttentionMask::causal(), WeightsRequest::kPerHead);  // T > S
    EXPECT_EQ(output.select(1, 0).abs().sum().item<double>(), 0.0);
    EXPECT_EQ(weights.select(1, 0).abs().sum().item<double>(), 0.0);
    (output.sum() + (weights * weights).sum()).backward();
    expect_finite_gradients({{"query", query}, {"key", key}});
  }
}

TEST(ScaledDotProductAttention, DropoutIsForTrainingOnly) {
  ScaledDotProductAttention attention(ScaledDotProductAttentionOptions().dropout(0.5));
  const auto x = torch::randn({kB, kT, kD});
  const auto run = [&] { return attention(x, x, x).output; };
  EXPECT_GT((run() - run()).abs().max().item<double>(), 0.0);
  attention->eval();
  EXPECT_TENSOR_EQUAL(run(), run());
}

TEST(ScaledDotProductAttention, TakesInputWithHeadsAndWithoutABatch) {
  ScaledDotProductAttention attention;
  const auto x = torch::randn({kB, 4, kT, kD}, torch::kDouble);
  const auto with_heads = attention(x, x, x, AttentionMask(), WeightsRequest::kPerHead);
  EXPECT_EQ(with_heads.weights.sizes(), (std::vector<int64_t>{kB, 4, kT, kT}));
  const auto single = attention(x[0][1], x[0][1], x[0][1], AttentionMask(), WeightsRequest::kMean);
  EXPECT_TENSOR_NEAR(single.output, with_heads.output[0][1], 1e-14);
  EXPECT_TENSOR_NEAR(single.weights, with_heads.weights[0][1], 1e-14);
}

TEST(ScaledDotProductAttention, ACloneKeepsItsOptions) {
  ScaledDotProductAttention attention(ScaledDotProductAttentionOptions().scale(0.7).dropout(0.5));
  attention->eval();
  const auto clone = std::dynamic_pointer_cast<ScaledDotProductAttentionImpl>(attention->clone());
  EXPECT_EQ(clone->options.scale(), 0.7);
  EXPECT_EQ(clone->options.dropout(), 0.5);
  EXPECT_FALSE(clone->is_training());
}

TEST(ScaledDotProductAttention, ErrorsNameWhatWasExpectedAndGot) {
  EXPECT_THROW_MESSAGE(ScaledDotProductAttention(ScaledDotProductAttentionOptions().dropout(1.0)),
                       c10::ValueError,
                       "ScaledDotProductAttention: expected 0 <= dropout < 1, got 1");
  ScaledDotProductAttention attention;
  const auto x = torch::randn({kB, kT, kD});
  EXPECT_THROW_MESSAGE(attention(x, x.narrow(2, 0, 4), x), c10::Error,
                       "scaled_dot_product_attention: expected key of shape [2, -1, 6] (-1 = any), "
                       "got [2, 3, 4]");
}

}  // namespace
}  // namespace attend::scaled_dot_product_attention_test
