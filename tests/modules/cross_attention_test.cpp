#include "attend/modules/cross_attention.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "support/devices.h"
#include "support/module_checks.h"
#include "support/oracle.h"
#include "support/tensor_assert.h"

namespace attend::cross_attention_test {
namespace {

using testing_support::DeviceTest;
using testing_support::expect_finite_gradients;
using testing_support::parameters_of;
using testing_support::randomise;

constexpr int64_t kB = 2, kT = 3, kS = 5, kQueryDim = 6, kKeyDim = 8, kHidden = 4, kOutput = 7;

SingleHeadAttentionOptions sizes() {
  return SingleHeadAttentionOptions(kQueryDim, kKeyDim).hidden_dim(kHidden).output_dim(kOutput);
}

CrossAttention randomised(const SingleHeadAttentionOptions& options,
                          torch::Dtype dtype = torch::kDouble) {
  CrossAttention attention(options);
  randomise(*attention);
  attention->to(dtype);
  return attention;
}

TEST(CrossAttention, IsTheWeightedMeanByHand) {
  CrossAttention attention(SingleHeadAttentionOptions(1, 2).bias(false));
  attention->to(torch::kDouble);
  const torch::NoGradGuard no_grad;
  attention->q_proj->weight.fill_(2.0);
  attention->k_proj->weight.copy_(torch::tensor({{1.0, 0.0}}));
  attention->v_proj->weight.copy_(torch::tensor({{0.0, 1.0}}));
  // The query 2 * 0.5 scores 0 and ln 3.
  const auto x = torch::tensor({{{0.5}}}, torch::kDouble);
  const auto memory = torch::tensor({{{0.0, 4.0}, {std::log(3.0), 8.0}}}, torch::kDouble);
  const auto [output, weights] = attention(x, memory, AttentionMask(), WeightsRequest::kPerHead);
  EXPECT_TENSOR_NEAR(weights, torch::tensor({{{0.25, 0.75}}}, torch::kDouble), 1e-15);
  EXPECT_TENSOR_NEAR(output, torch::tensor({{{7.0}}}, torch::kDouble), 1e-14);
}

class CrossAttentionOn : public DeviceTest {};
ATTEND_INSTANTIATE_ON_DEVICES(CrossAttentionOn);

TEST_P(CrossAttentionOn, AgreesWithTheOracle) {
  for (const bool bias : {true, false}) {
    auto attention = placed(CrossAttention(sizes().bias(bias)));
    randomise(*attention);
    const auto weights = oracle::weights_of(*attention);
    const auto x = randn({kB, kT, kQueryDim}), memory = randn({kB, kS, kKeyDim});
    const auto allowed = (torch::rand({kB, 1, 1, kS}) < 0.7).to(options().device());
    const auto expected =
        oracle::attention(oracle::linear(x, weights, "q_proj").unsqueeze(1),
                          oracle::linear(memory, weights, "k_proj").unsqueeze(1),
                          oracle::linear(memory, weights, "v_proj").unsqueeze(1), {allowed, {}});
    const auto result = attention(x, memory, AttentionMask(allowed), WeightsRequest::kPerHead);
    EXPECT_TENSOR_NEAR(result.output, expected.output.squeeze(1), tolerance());
    EXPECT_TENSOR_NEAR(result.weights, expected.weights.squeeze(1), tolerance());
  }
}

TEST_P(CrossAttentionOn, AQueryWithoutAKeyGetsZerosAndFiniteGradients) {
  for (const double dropout : {0.0, 0.5}) {
    auto attention = placed(CrossAttention(sizes().dropout(dropout)));
    attention->train();
    const auto x = randn({kB, kT, kQueryDim}).requires_grad_();
    const auto memory = randn({kB, kS, kKeyDim}).requires_grad_();
    const auto lengths = torch::tensor({0, 4}).to(options().device());
    const auto [output, weights] =
        attention(x, memory, AttentionMask::key_lengths(lengths), WeightsRequest::kPerHead);
    EXPECT_EQ(output[0].abs().sum().item<double>(), 0.0);
    EXPECT_EQ(weights[0].abs().sum().item<double>(), 0.0);
    (output.sum() + (weights * weights).sum()).backward();
    expect_finite_gradients({{"x", x}, {"memory", memory}});
    expect_finite_gradients(parameters_of(*attention));
  }
}

TEST(CrossAttention, PermutingTheMemoryChangesNothing) {
  auto attention = randomised(sizes());
  const auto x = torch::randn({kB, kT, kQueryDim}, torch::kDouble);
  const auto memory = torch::randn({kB, kS, kKeyDim}, torch::kDouble);
  const auto order = torch::randperm(kS, torch::kLong);
  EXPECT_TENSOR_NEAR(attention(x, memory.index_select(1, order)).output,
                     attention(x, memory).output, 1e-12);
}

TEST(CrossAttention, PaddedMemoryIsAsGoodAsNone) {
  auto attention = randomised(sizes());
  const auto x = torch::randn({kB, kT, kQueryDim}, torch::kDouble);
  const auto memory = torch::randn({kB, kS, kKeyDim}, torch::kDouble);
  const auto longer =
      torch::cat({memory, 100.0 * torch::randn({kB, 2, kKeyDim}, torch::kDouble)}, 1);
  EXPECT_TENSOR_NEAR(
      attention(x, longer, AttentionMask::key_lengths(torch::tensor({kS, kS}))).output,
      attention(x, memory).output, 1e-12);
}

TEST(CrossAttention, WeightsSumToOneAndTheOutputDoesNotDependOnTheRequest) {
  auto attention = randomised(sizes().dropout(0.5));
  const auto x = torch::randn({kB, kT, kQueryDim}, torch::kDouble);
  const auto memory = torch::randn({kB, kS, kKeyDim}, torch::kDouble);
  const auto run = [&](WeightsRequest request) {
    torch::manual_seed(7);
    return attention(x, memory, AttentionMask(), request);
  };
  const auto alone = run(WeightsRequest::kNone), with = run(WeightsRequest::kMean);
  EXPECT_FALSE(alone.weights.defined());
  EXPECT_TENSOR_EQUAL(with.output, alone.output);
  EXPECT_TENSOR_NEAR(with.weights.sum(-1), torch::ones({kB, kT}), 1e-12);
}

TEST(CrossAttention, UnbatchedInputIsTheBatchedOneSqueezed) {
  auto attention = randomised(sizes());
  const auto x = torch::randn({kB, kT, kQueryDim}, torch::kDouble);
  const auto memory = torch::randn({kB, kS, kKeyDim}, torch::kDouble);
  const auto batched = attention(x, memory, AttentionMask(), WeightsRequest::kPerHead);
  const auto single = attention(x[1], memory[1], AttentionMask(), WeightsRequest::kPerHead);
  EXPECT_TENSOR_NEAR(single.output, batched.output[1], 1e-14);
  EXPECT_TENSOR_NEAR(single.weights, batched.weights[1], 1e-14);
}

TEST(CrossAttention, GradientsMatchDifferences) {
  auto attention = randomised(sizes());
  const auto x = torch::randn({kB, kT, kQueryDim}, torch::kDouble).requires_grad_();
  const auto memory = torch::randn({kB, kS, kKeyDim}, torch::kDouble).requires_grad_();
  auto leaves = parameters_of(*attention);
  leaves.push_back({"x", x});
  leaves.push_back({"memory", memory});
  testing_support::expect_gradients_match_differences([&] { return attention(x, memory).output; },
                                                      leaves);
}

TEST(CrossAttention, ACloneIsEqualAndSeparate) {
  auto attention = randomised(sizes());
  const auto clone = std::dynamic_pointer_cast<CrossAttentionImpl>(attention->clone());
  testing_support::expect_clone_is_equal_and_separate(*attention, *clone);
}

TEST(CrossAttention, SavingAndLoadingKeepsEveryWeight) {
  CrossAttention loaded(sizes());
  testing_support::expect_save_load_round_trip(randomised(sizes(), torch::kFloat), loaded);
}

TEST(CrossAttention, ErrorsNameWhatWasExpectedAndGot) {
  EXPECT_THROW_MESSAGE(CrossAttention(6, 0), c10::ValueError,
                       "CrossAttention: expected key_dim > 0, got 0");
  CrossAttention attention(sizes());
  const auto x = torch::zeros({kB, kT, kQueryDim}), memory = torch::zeros({kB, kS, kKeyDim});
  EXPECT_THROW_MESSAGE(attention(x, memory[0]), c10::Error,
                       "CrossAttention: expected memory with 3 dimensions, got [5, 8]");
  EXPECT_THROW_MESSAGE(
      attention(x, torch::Tensor()), c10::Error,
      "CrossAttention: expected memory with 3 dimensions, got an undefined tensor");
  EXPECT_THROW_MESSAGE(attention(x, x), c10::Error,
                       "CrossAttention: expected an input whose last size is 8, got [2, 3, 6]");
  EXPECT_THROW_MESSAGE(attention(x.narrow(0, 0, 1), memory), c10::Error,
                       "CrossAttention: expected x and memory of one batch size, got [1, 3, 6] and "
                       "[2, 5, 8]");
  EXPECT_THROW_MESSAGE(attention(x, memory.to(torch::kDouble)), c10::Error,
                       "CrossAttention: expected an input of dtype Float like the weight, got "
                       "Double");
}

}  // namespace
}  // namespace attend::cross_attention_test
