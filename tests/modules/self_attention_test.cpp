#include "attend/modules/self_attention.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "support/devices.h"
#include "support/module_checks.h"
#include "support/oracle.h"
#include "support/tensor_assert.h"

namespace attend::self_attention_test {
namespace {

using testing_support::DeviceTest;
using testing_support::expect_finite_gradients;
using testing_support::parameters_of;
using testing_support::randomise;

constexpr int64_t kB = 2, kT = 5, kE = 6, kHidden = 4, kOutput = 7;

SingleHeadAttentionOptions sizes() {
  return SingleHeadAttentionOptions(kE).hidden_dim(kHidden).output_dim(kOutput);
}

SelfAttention randomised(const SingleHeadAttentionOptions& options,
                         torch::Dtype dtype = torch::kDouble) {
  SelfAttention attention(options);
  randomise(*attention);
  attention->to(dtype);
  return attention;
}

oracle::Result expected(const torch::Tensor& x, const oracle::Weights& weights,
                        const oracle::Mask& mask = {}) {
  const auto projected = [&](const char* name) {
    return oracle::linear(x, weights, name).unsqueeze(1);
  };
  const auto [output, attention] =
      oracle::attention(projected("q_proj"), projected("k_proj"), projected("v_proj"), mask);
  return {output.squeeze(1), attention.squeeze(1)};
}

TEST(SelfAttention, IsTheWeightedMeanByHand) {
  SelfAttention attention(SingleHeadAttentionOptions(1).bias(false));
  attention->to(torch::kDouble);
  const torch::NoGradGuard no_grad;
  attention->q_proj->weight.fill_(std::log(3.0));
  attention->k_proj->weight.fill_(1.0);
  attention->v_proj->weight.fill_(4.0);
  // Query 0 weighs both alike; query 1 scores 0 and ln 3.
  const auto x = torch::tensor({{{0.0}, {1.0}}}, torch::kDouble);
  const auto [output, weights] = attention(x, AttentionMask(), WeightsRequest::kPerHead);
  EXPECT_TENSOR_NEAR(weights, torch::tensor({{{0.5, 0.5}, {0.25, 0.75}}}, torch::kDouble), 1e-15);
  EXPECT_TENSOR_NEAR(output, torch::tensor({{{2.0}, {3.0}}}, torch::kDouble), 1e-14);
}

class SelfAttentionOn : public DeviceTest {};
ATTEND_INSTANTIATE_ON_DEVICES(SelfAttentionOn);

TEST_P(SelfAttentionOn, AgreesWithTheOracle) {
  for (const bool bias : {true, false}) {
    auto attention = placed(SelfAttention(sizes().bias(bias)));
    randomise(*attention);
    const auto x = randn({kB, kT, kE});
    const auto allowed = (torch::rand({kT, kT}) < 0.7).to(options().device());
    const auto reference = expected(x, oracle::weights_of(*attention), {allowed, {}});
    const auto result = attention(x, AttentionMask(allowed), WeightsRequest::kPerHead);
    EXPECT_TENSOR_NEAR(result.output, reference.output, tolerance());
    EXPECT_TENSOR_NEAR(result.weights, reference.weights, tolerance());
  }
}

TEST_P(SelfAttentionOn, AQueryWithoutAKeyGetsZerosAndFiniteGradients) {
  for (const double dropout : {0.0, 0.5}) {
    auto attention = placed(SelfAttention(sizes().dropout(dropout)));
    attention->train();
    auto allowed = torch::ones({kT, kT}, torch::kBool);
    allowed[2].fill_(false);
    const auto x = randn({kB, kT, kE}).requires_grad_();
    const auto [output, weights] =
        attention(x, AttentionMask(allowed.to(options().device())), WeightsRequest::kPerHead);
    EXPECT_EQ(output.select(1, 2).abs().sum().item<double>(), 0.0);
    EXPECT_EQ(weights.select(1, 2).abs().sum().item<double>(), 0.0);
    (output.sum() + (weights * weights).sum()).backward();
    expect_finite_gradients({{"x", x}});
    expect_finite_gradients(parameters_of(*attention));
  }
}

TEST(SelfAttention, ChangingTheFutureLeavesThePastUnchanged) {
  auto attention = randomised(sizes());
  const auto x = torch::randn({kB, kT, kE}, torch::kDouble);
  auto changed = x.clone();
  changed.narrow(1, 3, 2).normal_();
  const auto before = attention(x, AttentionMask::causal()).output;
  const auto after = attention(changed, AttentionMask::causal()).output;
  EXPECT_TENSOR_NEAR(after.narrow(1, 0, 3), before.narrow(1, 0, 3), 1e-14);
  EXPECT_GT((before - after).narrow(1, 3, 2).abs().min().item<double>(), 0.0);
}

TEST(SelfAttention, PermutingTheSequencePermutesTheOutput) {
  auto attention = randomised(sizes());
  const auto x = torch::randn({kB, kT, kE}, torch::kDouble);
  const auto order = torch::randperm(kT, torch::kLong);
  EXPECT_TENSOR_NEAR(attention(x.index_select(1, order)).output,
                     attention(x).output.index_select(1, order), 1e-12);
}

TEST(SelfAttention, PaddingLeavesTheRealPositionsUnchanged) {
  auto attention = randomised(sizes());
  const auto x = torch::randn({kB, kT, kE}, torch::kDouble);
  const auto longer = torch::cat({x, 100.0 * torch::randn({kB, 2, kE}, torch::kDouble)}, 1);
  EXPECT_TENSOR_NEAR(attention(longer, AttentionMask::key_lengths(torch::tensor({kT, kT})))
                         .output.narrow(1, 0, kT),
                     attention(x).output, 1e-12);
}

TEST(SelfAttention, WeightsSumToOneAndTheOutputDoesNotDependOnTheRequest) {
  auto attention = randomised(sizes().dropout(0.5));
  const auto x = torch::randn({kB, kT, kE}, torch::kDouble);
  const auto run = [&](WeightsRequest request) {
    torch::manual_seed(7);
    return attention(x, AttentionMask::causal(), request);
  };
  const auto alone = run(WeightsRequest::kNone), with = run(WeightsRequest::kMean);
  EXPECT_FALSE(alone.weights.defined());
  EXPECT_TENSOR_EQUAL(with.output, alone.output);
  EXPECT_TENSOR_NEAR(with.weights.sum(-1), torch::ones({kB, kT}), 1e-12);
}

TEST(SelfAttention, UnbatchedInputIsTheBatchedOneSqueezed) {
  auto attention = randomised(sizes());
  const auto x = torch::randn({kB, kT, kE}, torch::kDouble);
  const auto batched = attention(x, AttentionMask::causal(), WeightsRequest::kPerHead);
  const auto single = attention(x[1], AttentionMask::causal(), WeightsRequest::kPerHead);
  EXPECT_TENSOR_NEAR(single.output, batched.output[1], 1e-14);
  EXPECT_TENSOR_NEAR(single.weights, batched.weights[1], 1e-14);
}

TEST(SelfAttention, GradientsMatchDifferences) {
  auto attention = randomised(sizes());
  const auto x = torch::randn({kB, kT, kE}, torch::kDouble).requires_grad_();
  auto leaves = parameters_of(*attention);
  leaves.push_back({"x", x});
  testing_support::expect_gradients_match_differences(
      [&] { return attention(x, AttentionMask::causal()).output; }, leaves);
}

TEST(SelfAttention, ACloneIsEqualAndSeparate) {
  for (const auto dtype : {torch::kFloat, torch::kDouble}) {
    auto attention = randomised(sizes().bias(false), dtype);
    attention->eval();
    const auto clone = std::dynamic_pointer_cast<SelfAttentionImpl>(attention->clone());
    testing_support::expect_clone_is_equal_and_separate(*attention, *clone);
    const auto x = torch::randn({kB, kT, kE}, dtype);
    EXPECT_TENSOR_EQUAL(clone->forward(x).output, attention(x).output);
  }
}

TEST(SelfAttention, SavingAndLoadingKeepsEveryWeight) {
  SelfAttention loaded(sizes());
  testing_support::expect_save_load_round_trip(randomised(sizes(), torch::kFloat), loaded);
}

TEST(SelfAttention, ErrorsNameWhatWasExpectedAndGot) {
  EXPECT_THROW_MESSAGE(SelfAttention(0), c10::ValueError,
                       "SelfAttention: expected query_dim > 0, got 0");
  EXPECT_THROW_MESSAGE(SelfAttention(SingleHeadAttentionOptions(6, 4)), c10::ValueError,
                       "SelfAttention: expected key_dim equal to query_dim 6, got 4");
  EXPECT_THROW_MESSAGE(SelfAttention(sizes().hidden_dim(0)), c10::ValueError,
                       "SelfAttention: expected hidden_dim > 0, got 0");
  EXPECT_THROW_MESSAGE(SelfAttention(sizes().output_dim(-1)), c10::ValueError,
                       "SelfAttention: expected output_dim > 0, got -1");
  EXPECT_THROW_MESSAGE(SelfAttention(sizes().dropout(-1.0)), c10::ValueError,
                       "SelfAttention: expected 0 <= dropout < 1, got -1");
  SelfAttention attention(kE);
  EXPECT_THROW_MESSAGE(attention(torch::zeros({kE})), c10::Error,
                       "SelfAttention: expected x with 2 to 3 dimensions, got [6]");
  EXPECT_THROW_MESSAGE(attention(torch::zeros({kT, 8})), c10::Error,
                       "SelfAttention: expected an input whose last size is 6, got [5, 8]");
  EXPECT_THROW_MESSAGE(attention(torch::zeros({kT, kE}, torch::kHalf)), c10::Error,
                       "SelfAttention: expected an input of dtype Float like the weight, got Half");
  EXPECT_THROW_MESSAGE(attention(torch::zeros({kT, kE}, torch::kMeta)), c10::Error,
                       "SelfAttention: expected an input on cpu like the weight, got meta");
}

}  // namespace
}  // namespace attend::self_attention_test
