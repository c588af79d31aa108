#include "attend/modules/multi_head_cross_attention.h"

#include <gtest/gtest.h>

#include <cmath>

#include "support/devices.h"
#include "support/module_checks.h"
#include "support/oracle.h"
#include "support/tensor_assert.h"

namespace attend::multi_head_cross_attention_test {
namespace {

using testing_support::DeviceTest;
using testing_support::expect_finite_gradients;
using testing_support::parameters_of;
using testing_support::randomise;

constexpr int64_t kB = 2, kT = 3, kS = 5, kH = 4, kE = 24, kQueryDim = 7, kKeyDim = 9;

MultiHeadCrossAttention randomised(torch::Dtype dtype = torch::kDouble) {
  MultiHeadCrossAttention attention(kQueryDim, kKeyDim, kE, kH);
  randomise(*attention);
  attention->to(dtype);
  return attention;
}

torch::Tensor queries() { return torch::randn({kB, kT, kQueryDim}, torch::kDouble); }
torch::Tensor memories(int64_t length = kS) {
  return torch::randn({kB, length, kKeyDim}, torch::kDouble);
}

TEST(MultiHeadCrossAttention, IsTheWeightedMeanByHand) {
  MultiHeadCrossAttention attention(MultiHeadAttentionOptions(2, 2).query_dim(1).bias(false));
  attention->to(torch::kDouble);
  const torch::NoGradGuard no_grad;
  attention->q_proj->weight.copy_(torch::tensor({{1.0}, {0.0}}));
  attention->k_proj->weight.copy_(torch::eye(2));
  attention->v_proj->weight.copy_(torch::eye(2));
  attention->out_proj->weight.copy_(torch::eye(2));
  // Head 1 scores 0 and ln 3; head 2 has a query of 0 and takes the plain mean.
  const auto x = torch::tensor({{{1.0}}}, torch::kDouble);
  const auto memory = torch::tensor({{{0.0, 4.0}, {std::log(3.0), 8.0}}}, torch::kDouble);
  const auto [output, weights] = attention(x, memory, AttentionMask(), WeightsRequest::kPerHead);
  EXPECT_TENSOR_NEAR(weights, torch::tensor({{{{0.25, 0.75}}, {{0.5, 0.5}}}}, torch::kDouble),
                     1e-15);
  EXPECT_TENSOR_NEAR(output, torch::tensor({{{0.75 * std::log(3.0), 6.0}}}, torch::kDouble), 1e-14);
}

class MultiHeadCrossAttentionOn : public DeviceTest {};
ATTEND_INSTANTIATE_ON_DEVICES(MultiHeadCrossAttentionOn);

TEST_P(MultiHeadCrossAttentionOn, AgreesWithTheOracle) {
  auto attention = placed(MultiHeadCrossAttention(kQueryDim, kKeyDim, kE, kH));
  const auto weights = oracle::weights_of(*attention);
  const auto x = randn({kB, kT, kQueryDim}), memory = randn({kB, kS, kKeyDim});
  const auto may_attend = (torch::rand({kB, kS}) < 0.7).to(options().device());
  const auto expected = oracle::multi_head_attention(x, memory, memory, weights, kH,
                                                     {may_attend.view({kB, 1, 1, kS}), {}});
  const auto result =
      attention(x, memory, AttentionMask::padding(may_attend), WeightsRequest::kPerHead);
  EXPECT_TENSOR_NEAR(result.output, expected.output, tolerance());
  EXPECT_TENSOR_NEAR(result.weights, expected.weights, tolerance());
}

TEST_P(MultiHeadCrossAttentionOn, AnEmptyMemoryGivesTheBiasOfTheOutputAndFiniteGradients) {
  for (const double dropout : {0.0, 0.5}) {
    auto attention = placed(MultiHeadCrossAttention(MultiHeadAttentionOptions(kE, kH)
                                                        .query_dim(kQueryDim)
                                                        .key_dim(kKeyDim)
                                                        .value_dim(kKeyDim)
                                                        .dropout(dropout)));
    attention->train();
    for (const int64_t source : {kS, int64_t{0}}) {
      attention->zero_grad();
      const auto x = randn({kB, kT, kQueryDim}).requires_grad_();
      const auto memory = randn({kB, source, kKeyDim}).requires_grad_();
      const auto lengths = torch::tensor({int64_t{0}, source}).to(options().device());
      const auto [output, weights] =
          attention(x, memory, AttentionMask::key_lengths(lengths), WeightsRequest::kPerHead);
      EXPECT_TENSOR_NEAR(output[0], attention->out_proj->bias.expand({kT, kE}), 0.0);
      EXPECT_EQ(weights[0].abs().sum().item<double>(), 0.0);
      (output.sum() + (weights * weights).sum()).backward();
      expect_finite_gradients({{"x", x}, {"memory", memory}});
      expect_finite_gradients(parameters_of(*attention));
    }
  }
}

TEST(MultiHeadCrossAttention, StepsOnAMemoryProjectedOnceAreTheFullPass) {
  auto attention = randomised();
  const auto x = queries(), memory = memories();
  const auto full = attention(x, memory, AttentionMask(), WeightsRequest::kPerHead);
  const auto projected = attention->project_key_value(memory, memory);
  for (int64_t t = 0; t < kT; ++t) {
    const auto step = attention->attend(x.narrow(1, t, 1), projected, {}, WeightsRequest::kPerHead);
    EXPECT_TENSOR_NEAR(step.output, full.output.narrow(1, t, 1), 1e-12);
    EXPECT_TENSOR_NEAR(step.weights, full.weights.narrow(2, t, 1), 1e-12);
  }
}

TEST(MultiHeadCrossAttention, PermutingTheMemoryChangesNothing) {
  auto attention = randomised();
  const auto x = queries(), memory = memories();
  const auto order = torch::randperm(kS, torch::kLong);
  EXPECT_TENSOR_NEAR(attention(x, memory.index_select(1, order)).output,
                     attention(x, memory).output, 1e-12);
}

TEST(MultiHeadCrossAttention, PaddedMemoryIsAsGoodAsNone) {
  auto attention = randomised();
  const auto x = queries(), memory = memories();
  const auto longer = torch::cat({memory, 100.0 * memories(2)}, 1);
  EXPECT_TENSOR_NEAR(
      attention(x, longer, AttentionMask::key_lengths(torch::tensor({kS, kS}))).output,
      attention(x, memory).output, 1e-12);
}

TEST(MultiHeadCrossAttention, WeightsSumToOneAndTheOutputDoesNotDependOnTheRequest) {
  auto attention = randomised();
  const auto x = queries(), memory = memories();
  const auto alone = attention(x, memory);
  const auto with = attention(x, memory, AttentionMask(), WeightsRequest::kMean);
  EXPECT_TENSOR_EQUAL(with.output, alone.output);
  EXPECT_TENSOR_NEAR(with.weights.sum(-1), torch::ones({kB, kT}), 1e-12);
}

TEST(MultiHeadCrossAttention, UnbatchedInputIsTheBatchedOneSqueezed) {
  auto attention = randomised();
  const auto x = queries(), memory = memories();
  const auto batched = attention(x.narrow(0, 1, 1), memory.narrow(0, 1, 1), AttentionMask(),
                                 WeightsRequest::kPerHead);
  const auto single = attention(x[1], memory[1], AttentionMask(), WeightsRequest::kPerHead);
  EXPECT_TENSOR_EQUAL(single.output, batched.output[0]);
  EXPECT_TENSOR_EQUAL(single.weights, batched.weights[0]);
}

TEST(MultiHeadCrossAttention, GradientsMatchDifferences) {
  auto attention = MultiHeadCrossAttention(4, 5, 6, 2);
  randomise(*attention);
  attention->to(torch::kDouble);
  const auto x = torch::randn({kB, kT, 4}, torch::kDouble).requires_grad_();
  const auto memory = torch::randn({kB, kS, 5}, torch::kDouble).requires_grad_();
  auto leaves = parameters_of(*attention);
  leaves.push_back({"x", x});
  leaves.push_back({"memory", memory});
  testing_support::expect_gradients_match_differences([&] { return attention(x, memory).output; },
                                                      leaves);
}

TEST(MultiHeadCrossAttention, ACloneIsEqualAndSeparate) {
  auto attention = randomised();
  const auto clone = std::dynamic_pointer_cast<MultiHeadCrossAttentionImpl>(attention->clone());
  testing_support::expect_clone_is_equal_and_separate(*attention, *clone);
}

TEST(MultiHeadCrossAttention, SavingAndLoadingKeepsEveryWeight) {
  MultiHeadCrossAttention loaded(kQueryDim, kKeyDim, kE, kH);
  testing_support::expect_save_load_round_trip(randomised(torch::kFloat), loaded);
}

TEST(MultiHeadCrossAttention, ErrorsNameWhatWasExpectedAndGot) {
  EXPECT_THROW_MESSAGE(
      MultiHeadCrossAttention(MultiHeadAttentionOptions(8, 2).key_dim(4).value_dim(5)),
      c10::ValueError, "MultiHeadCrossAttention: expected value_dim equal to key_dim 4, got 5");
  EXPECT_THROW_MESSAGE(MultiHeadCrossAttention(0, 4, 8, 2), c10::ValueError,
                       "MultiHeadCrossAttention: expected query_dim > 0, got 0");
  auto attention = randomised();
  const auto x = queries(), memory = memories();
  EXPECT_THROW_MESSAGE(attention(x, x), c10::Error,
                       "MultiHeadCrossAttention: expected memory of shape [-1, -1, 9] (-1 = any), "
                       "got [2, 3, 7]");
  EXPECT_THROW_MESSAGE(attention(memory, memory), c10::Error,
                       "MultiHeadCrossAttention: expected x of shape [-1, -1, 7] (-1 = any), got "
                       "[2, 5, 9]");
  EXPECT_THROW_MESSAGE(attention(x, memory[0]), c10::Error,
                       "MultiHeadCrossAttention: expected memory with 3 dimensions, got [5, 9]");
  EXPECT_THROW_MESSAGE(attention(x.narrow(0, 0, 1), memory), c10::Error,
                       "MultiHeadCrossAttention: expected x and memory of one batch size, got x "
                       "[1, 3, 7] and 2 rows of memory");
}

}  // namespace
}  // namespace attend::multi_head_cross_attention_test
