#include "attend/modules/causal_self_attention.h"

#include <gtest/gtest.h>

#include "support/devices.h"
#include "support/module_checks.h"
#include "support/oracle.h"
#include "support/tensor_assert.h"

namespace attend::causal_self_attention_test {
namespace {

using testing_support::DeviceTest;
using testing_support::expect_finite_gradients;
using testing_support::parameters_of;
using testing_support::randomise;

constexpr int64_t kB = 2, kT = 5, kH = 4, kE = 24, kMaxLength = 20;

CausalSelfAttention randomised(torch::Dtype dtype = torch::kDouble) {
  CausalSelfAttention attention(kE, kH, kMaxLength);
  randomise(*attention);
  attention->to(dtype);
  return attention;
}

torch::Tensor input(int64_t length = kT) { return torch::randn({kB, length, kE}, torch::kDouble); }

TEST(CausalSelfAttention, TheFirstPositionSeesOnlyItselfByHand) {
  CausalSelfAttention attention(
      CausalSelfAttentionOptions(MultiHeadAttentionOptions(1, 1).bias(false), 2));
  attention->to(torch::kDouble);
  const torch::NoGradGuard no_grad;
  for (auto& parameter : attention->parameters()) parameter.fill_(1.0);
  attention->q_proj->weight.fill_(0.0);  // every score is 0: a plain mean of what is seen
  const auto [output, weights] = attention(torch::tensor({{{4.0}, {8.0}}}, torch::kDouble),
                                           AttentionMask(), WeightsRequest::kPerHead);
  EXPECT_TENSOR_NEAR(output, torch::tensor({{{4.0}, {6.0}}}, torch::kDouble), 1e-15);
  EXPECT_TENSOR_NEAR(weights, torch::tensor({{{{1.0, 0.0}, {0.5, 0.5}}}}, torch::kDouble), 1e-15);
}

class CausalSelfAttentionOn : public DeviceTest {};
ATTEND_INSTANTIATE_ON_DEVICES(CausalSelfAttentionOn);

TEST_P(CausalSelfAttentionOn, AgreesWithTheOracle) {
  auto attention = placed(CausalSelfAttention(kE, kH, kMaxLength));
  const auto weights = oracle::weights_of(*attention);
  const auto x = randn({kB, kT, kE});
  const auto padding = (torch::rand({kB, kT}) < 0.7).to(options().device());
  const auto past = oracle::causal(kT, kT);
  const auto plain = oracle::multi_head_attention(x, x, x, weights, kH, {past, {}});
  const auto result = attention(x, AttentionMask(), WeightsRequest::kPerHead);
  EXPECT_TENSOR_NEAR(result.output, plain.output, tolerance());
  EXPECT_TENSOR_NEAR(result.weights, plain.weights, tolerance());
  const auto padded = oracle::multi_head_attention(
      x, x, x, weights, kH, {padding.cpu().view({kB, 1, 1, kT}).logical_and(past), {}});
  EXPECT_TENSOR_NEAR(attention(x, AttentionMask::padding(padding)).output, padded.output,
                     tolerance());
}

TEST_P(CausalSelfAttentionOn, ChangingTheFutureLeavesThePastUnchanged) {
  auto attention = placed(CausalSelfAttention(kE, kH, kMaxLength));
  const auto x = randn({kB, kT, kE});
  auto changed = x.clone();
  changed.narrow(1, 3, 2).copy_(randn({kB, 2, kE}));
  const auto before = attention(x).output, after = attention(changed).output;
  EXPECT_TENSOR_NEAR(after.narrow(1, 0, 3), before.narrow(1, 0, 3), tolerance());
  EXPECT_GT((before - after).narrow(1, 3, 2).abs().max().item<double>(), 0.0);
}

TEST_P(CausalSelfAttentionOn, LeftPaddingGivesFiniteGradients) {
  for (const double dropout : {0.0, 0.5}) {
    auto attention = placed(CausalSelfAttention(CausalSelfAttentionOptions(
        MultiHeadAttentionOptions(kE, kH).dropout(dropout), kMaxLength)));
    attention->train();
    // Sentence 0 is padded on the left, so its first queries see no key at all.
    auto padding = torch::ones({kB, kT}, torch::kBool);
    padding[0].narrow(0, 0, 2).fill_(false);
    const auto x = randn({kB, kT, kE}).requires_grad_();
    const auto [output, weights] = attention(
        x, AttentionMask::padding(padding.to(options().device())), WeightsRequest::kPerHead);
    EXPECT_TENSOR_NEAR(output[0].narrow(0, 0, 2), attention->out_proj->bias.expand({2, kE}), 0.0);
    EXPECT_EQ(weights[0].narrow(1, 0, 2).abs().sum().item<double>(), 0.0);
    (output.sum() + (weights * weights).sum()).backward();
    expect_finite_gradients({{"x", x}});
    expect_finite_gradients(parameters_of(*attention));
  }
}

TEST_P(CausalSelfAttentionOn, CachedStepsAreTheFullPass) {
  auto attention = placed(CausalSelfAttention(kE, kH, kMaxLength));
  const auto x = randn({kB, kMaxLength, kE});
  const auto full = attention(x, AttentionMask(), WeightsRequest::kPerHead);
  for (const auto& steps :
       std::vector<std::vector<int64_t>>{std::vector<int64_t>(20, 1), {5, 1, 1, 9, 4}, {20}}) {
    KeyValueCache cache;
    for (const auto length : steps) {
      const auto t = cache.length();
      const auto step =
          attention->step(x.narrow(1, t, length), cache, {}, WeightsRequest::kPerHead);
      EXPECT_TENSOR_NEAR(step.output, full.output.narrow(1, t, length), tolerance());
      EXPECT_TENSOR_NEAR(step.weights, full.weights.narrow(2, t, length).narrow(3, 0, t + length),
                         tolerance());
    }
  }
}

TEST(CausalSelfAttention, WeightsSumToOneAndTheOutputDoesNotDependOnTheRequest) {
  auto attention = randomised();
  const auto x = input();
  const auto alone = attention(x);
  const auto with = attention(x, AttentionMask(), WeightsRequest::kPerHead);
  EXPECT_TENSOR_EQUAL(with.output, alone.output);
  EXPECT_TENSOR_NEAR(with.weights.sum(-1), torch::ones({kB, kH, kT}), 1e-12);
}

TEST(CausalSelfAttention, UnbatchedInputIsTheBatchedOneSqueezed) {
  auto attention = randomised();
  const auto x = input();
  EXPECT_TENSOR_EQUAL(attention(x[1]).output, attention(x.narrow(0, 1, 1)).output[0]);
}

TEST(CausalSelfAttention, GradientsMatchDifferences) {
  CausalSelfAttention attention(6, 2, kT);
  randomise(*attention);
  attention->to(torch::kDouble);
  const auto x = torch::randn({kB, kT, 6}, torch::kDouble).requires_grad_();
  auto leaves = parameters_of(*attention);
  leaves.push_back({"x", x});
  testing_support::expect_gradients_match_differences([&] { return attention(x).output; }, leaves);
}

TEST(CausalSelfAttention, ACloneIsEqualAndSeparate) {
  auto attention = randomised();
  const auto clone = std::dynamic_pointer_cast<CausalSelfAttentionImpl>(attention->clone());
  testing_support::expect_clone_is_equal_and_separate(*attention, *clone);
  EXPECT_EQ(clone->max_length, kMaxLength);
  const auto x = input();
  EXPECT_TENSOR_EQUAL(clone->forward(x).output, attention(x).output);
}

TEST(CausalSelfAttention, SavingAndLoadingKeepsEveryWeightAndNothingElse) {
  CausalSelfAttention loaded(kE, kH, kMaxLength);
  EXPECT_TRUE(loaded->named_buffers().is_empty());
  testing_support::expect_save_load_round_trip(randomised(torch::kFloat), loaded);
}

TEST(CausalSelfAttention, ASequenceLongerThanThePositionsIsRefused) {
  CausalSelfAttention attention(kE, kH, 4);
  EXPECT_THROW_MESSAGE(attention(torch::zeros({kB, 5, kE})), c10::ValueError,
                       "CausalSelfAttention: expected a sequence of at most max_length 4 "
                       "positions, got 5");
  EXPECT_THROW_MESSAGE(attention(torch::zeros({5, kE})), c10::ValueError,
                       "CausalSelfAttention: expected a sequence of at most max_length 4 "
                       "positions, got 5");
  KeyValueCache cache;
  attention->step(torch::zeros({kB, 3, kE}), cache);
  EXPECT_THROW_MESSAGE(attention->step(torch::zeros({kB, 2, kE}), cache), c10::ValueError,
                       "CausalSelfAttention: expected a sequence of at most max_length 4 "
                       "positions, got 3 cached and 2 new ones");
  EXPECT_EQ(cache.length(), 3);
  attention->step(torch::zeros({kB, 1, kE}), cache);
}

TEST(CausalSelfAttention, ErrorsNameWhatWasExpectedAndGot) {
  EXPECT_THROW_MESSAGE(CausalSelfAttention(kE, kH, 0), c10::ValueError,
                       "CausalSelfAttention: expected max_length > 0, got 0");
  EXPECT_THROW_MESSAGE(CausalSelfAttention(10, 4, 8), c10::ValueError,
                       "CausalSelfAttention: expected embed_dim divisible by num_heads, got "
                       "embed_dim 10 and num_heads 4");
  CausalSelfAttention attention(kE, kH, kMaxLength);
  EXPECT_THROW_MESSAGE(attention(torch::zeros({kE})), c10::Error,
                       "CausalSelfAttention: expected x with 2 to 3 dimensions, got [24]");
  EXPECT_THROW_MESSAGE(attention(torch::zeros({kB, kT, 8})), c10::Error,
                       "CausalSelfAttention: expected x of shape [-1, -1, 24] (-1 = any), got "
                       "[2, 5, 8]");
  KeyValueCache cache;
  EXPECT_THROW_MESSAGE(attention->step(torch::zeros({kT, kE}), cache), c10::Error,
                       "CausalSelfAttention: expected x with 3 dimensions, got [5, 24]");
}

}  // namespace
}  // namespace attend::causal_self_attention_test
