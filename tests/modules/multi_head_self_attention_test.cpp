#include "attend/modules/multi_head_self_attention.h"

#include <gtest/gtest.h>

#include <limits>

#include "support/devices.h"
#include "support/module_checks.h"
#include "support/oracle.h"
#include "support/peak_memory.h"
#include "support/tensor_assert.h"

namespace attend::multi_head_self_attention_test {
namespace {

using testing_support::DeviceTest;
using testing_support::expect_finite_gradients;
using testing_support::parameters_of;
using testing_support::randomise;

constexpr int64_t kB = 2, kT = 5, kH = 4, kE = 24;

MultiHeadSelfAttention randomised(const MultiHeadAttentionOptions& options = {kE, kH},
                                  torch::Dtype dtype = torch::kDouble) {
  MultiHeadSelfAttention attention(options);
  randomise(*attention);
  attention->to(dtype);
  return attention;
}

torch::Tensor input(int64_t length = kT) { return torch::randn({kB, length, kE}, torch::kDouble); }

TEST(MultiHeadSelfAttention, OfOnePositionIsTheProjectedValueByHand) {
  MultiHeadSelfAttention attention(2, 2);
  attention->to(torch::kDouble);
  const torch::NoGradGuard no_grad;
  attention->v_proj->weight.copy_(torch::tensor({{1.0, 2.0}, {3.0, 4.0}}));
  attention->v_proj->bias.copy_(torch::tensor({1.0, -1.0}));
  attention->out_proj->weight.copy_(torch::tensor({{0.0, 1.0}, {1.0, 0.0}}));
  attention->out_proj->bias.copy_(torch::tensor({0.5, 0.0}));
  // v = [1 + 2 + 1, 3 + 4 - 1] = [4, 6], swapped, plus 0.5.
  EXPECT_TENSOR_NEAR(attention(torch::ones({1, 1, 2}, torch::kDouble)).output,
                     torch::tensor({{{6.5, 4.0}}}, torch::kDouble), 1e-15);
}

class MultiHeadSelfAttentionOn : public DeviceTest {};
ATTEND_INSTANTIATE_ON_DEVICES(MultiHeadSelfAttentionOn);

TEST_P(MultiHeadSelfAttentionOn, AgreesWithTheOracle) {
  auto attention = placed(MultiHeadSelfAttention(kE, kH));
  const auto weights = oracle::weights_of(*attention);
  const auto x = randn({kB, kT, kE});
  const auto allowed = (torch::rand({kB, kH, kT, kT}) < 0.7).to(options().device());
  const std::vector<std::pair<AttentionMask, oracle::Mask>> cases = {
      {{}, {}}, {allowed, {allowed, {}}}, {AttentionMask::causal(), {oracle::causal(kT, kT), {}}}};
  for (const auto& [mask, meaning] : cases) {
    const auto expected = oracle::multi_head_attention(x, x, x, weights, kH, meaning);
    const auto result = attention(x, mask, WeightsRequest::kPerHead);
    EXPECT_TENSOR_NEAR(result.output, expected.output, tolerance());
    EXPECT_TENSOR_NEAR(result.weights, expected.weights, tolerance());
  }
}

TEST_P(MultiHeadSelfAttentionOn, ASentenceOfNoTokensGivesFiniteGradients) {
  for (const double dropout : {0.0, 0.5}) {
    auto attention =
        placed(MultiHeadSelfAttention(MultiHeadAttentionOptions(kE, kH).dropout(dropout)));
    attention->train();
    const auto x = randn({kB, kT, kE}).requires_grad_();
    const auto mask = AttentionMask::causal() &
                      AttentionMask::key_lengths(torch::tensor({0, 3}).to(options().device()));
    const auto [output, weights] = attention(x, mask, WeightsRequest::kPerHead);
    EXPECT_TENSOR_NEAR(output[0], attention->out_proj->bias.expand({kT, kE}), 0.0);
    EXPECT_EQ(weights[0].abs().sum().item<double>(), 0.0);
    (output.sum() + (weights * weights).sum()).backward();
    expect_finite_gradients({{"x", x}});
    expect_finite_gradients(parameters_of(*attention));
  }
}

TEST_P(MultiHeadSelfAttentionOn, CachedStepsAreTheFullPass) {
  auto attention = placed(MultiHeadSelfAttention(kE, kH));
  const auto x = randn({kB, 20, kE});
  const auto full = attention(x, AttentionMask::causal(), WeightsRequest::kPerHead);
  // Steps of several sizes, across the point where the cache's buffers grow.
  for (const auto& steps : std::vector<std::vector<int64_t>>{
           std::vector<int64_t>(20, 1), {5, 1, 1, 9, 4}, {20}, {15, 5}, {0, 16, 1, 3}}) {
    KeyValueCache cache;
    int64_t t = 0;
    for (const auto length : steps) {
      const auto step = attention->step(x.narrow(1, t, length), cache, AttentionMask::causal(),
                                        WeightsRequest::kPerHead);
      EXPECT_TENSOR_NEAR(step.output, full.output.narrow(1, t, length), tolerance());
      EXPECT_TENSOR_NEAR(step.weights, full.weights.narrow(2, t, length).narrow(3, 0, t + length),
                         tolerance());
      t += length;
      EXPECT_EQ(cache.length(), t);
    }
  }
}

TEST(MultiHeadSelfAttention, AStepWithoutACausalMaskSeesAllNewPositions) {
  auto attention = randomised();
  const auto x = input();
  KeyValueCache cache;
  EXPECT_TENSOR_NEAR(attention->step(x, cache).output, attention(x).output, 1e-12);
}

TEST(MultiHeadSelfAttention, GradientsFlowThroughTheCache) {
  auto attention = randomised();
  const auto x = input().requires_grad_();
  const auto full = attention(x, AttentionMask::causal()).output;
  const auto weights = torch::randn_like(full);
  const auto expected = torch::autograd::grad({(full * weights).sum()}, {x})[0];
  KeyValueCache cache;
  std::vector<torch::Tensor> outputs;
  for (int64_t t = 0; t < kT; ++t) {
    outputs.push_back(attention->step(x.narrow(1, t, 1), cache, AttentionMask::causal()).output);
  }
  const auto actual = torch::autograd::grad({(torch::cat(outputs, 1) * weights).sum()}, {x})[0];
  EXPECT_TENSOR_NEAR(actual, expected, 1e-12);
}

TEST(MultiHeadSelfAttention, AnErrorLeavesTheCacheAsItWas) {
  for (const bool gradients : {false, true}) {
    const torch::AutoGradMode mode(gradients);
    auto attention = randomised();
    const auto x = input(3);
    KeyValueCache cache;
    attention->step(x.narrow(1, 0, 1), cache);
    const auto wrong_mask = torch::ones({7, 7}, torch::kBool);
    EXPECT_THROW_MESSAGE(attention->step(x.narrow(1, 1, 1), cache, wrong_mask), c10::Error,
                         "scaled_dot_product_attention: expected mask to broadcast to "
                         "[2, 4, 1, 2], got [7, 7]");
    EXPECT_EQ(cache.length(), 1);
    EXPECT_THROW_MESSAGE(attention->step(x.narrow(0, 0, 1), cache), c10::Error,
                         "KeyValueCache::append: expected key of shape [2, 4, -1, 6] (-1 = any), "
                         "got [1, 4, 3, 6]");
    EXPECT_EQ(cache.length(), 1);
    const auto step = attention->step(x.narrow(1, 1, 2), cache, AttentionMask::causal());
    EXPECT_TENSOR_NEAR(step.output, attention(x, AttentionMask::causal()).output.narrow(1, 1, 2),
                       1e-12);
  }
}

TEST(MultiHeadSelfAttention, ChangingTheFutureLeavesThePastUnchanged) {
  auto attention = randomised();
  const auto x = input();
  auto changed = x.clone();
  changed.narrow(1, 3, 2).normal_();
  const auto before = attention(x, AttentionMask::causal()).output;
  const auto after = attention(changed, AttentionMask::causal()).output;
  EXPECT_TENSOR_NEAR(after.narrow(1, 0, 3), before.narrow(1, 0, 3), 1e-14);
  EXPECT_GT((before - after).narrow(1, 3, 2).abs().min().item<double>(), 0.0);
}

TEST(MultiHeadSelfAttention, PaddingLeavesTheRealPositionsUnchanged) {
  auto attention = randomised();
  const auto x = input();
  const auto longer = torch::cat({x, 100.0 * input(2)}, 1);
  EXPECT_TENSOR_NEAR(attention(longer, AttentionMask::key_lengths(torch::tensor({kT, kT})))
                         .output.narrow(1, 0, kT),
                     attention(x).output, 1e-12);
}

TEST(MultiHeadSelfAttention, PermutingTheSequencePermutesTheOutput) {
  auto attention = randomised();
  const auto x = input();
  const auto order = torch::randperm(kT, torch::kLong);
  EXPECT_TENSOR_NEAR(attention(x.index_select(1, order)).output,
                     attention(x).output.index_select(1, order), 1e-12);
}

TEST(MultiHeadSelfAttention, WeightsSumToOneAndTheOutputDoesNotDependOnTheRequest) {
  auto attention = randomised(MultiHeadAttentionOptions(kE, kH).dropout(0.5));
  const auto x = input();
  const auto run = [&](WeightsRequest request) {
    torch::manual_seed(7);
    return attention(x, AttentionMask::causal(), request);
  };
  const auto alone = run(WeightsRequest::kNone), with = run(WeightsRequest::kPerHead);
  EXPECT_FALSE(alone.weights.defined());
  EXPECT_TENSOR_EQUAL(with.output, alone.output);
  EXPECT_TENSOR_NEAR(with.weights.sum(-1), torch::ones({kB, kH, kT}), 1e-12);
}

TEST(MultiHeadSelfAttention, UnbatchedInputIsTheBatchedOneSqueezed) {
  auto attention = randomised();
  const auto x = input();
  const auto batched = attention(x.narrow(0, 1, 1), AttentionMask::causal(), WeightsRequest::kMean);
  const auto single = attention(x[1], AttentionMask::causal(), WeightsRequest::kMean);
  EXPECT_TENSOR_EQUAL(single.output, batched.output[0]);
  EXPECT_TENSOR_EQUAL(single.weights, batched.weights[0]);
}

TEST(MultiHeadSelfAttention, GradientsMatchDifferences) {
  auto attention = randomised({6, 2});
  const auto x = torch::randn({kB, kT, 6}, torch::kDouble).requires_grad_();
  auto leaves = parameters_of(*attention);
  leaves.push_back({"x", x});
  testing_support::expect_gradients_match_differences(
      [&] { return attention(x, AttentionMask::causal()).output; }, leaves);
}

TEST(MultiHeadSelfAttention, ACloneIsEqualAndSeparate) {
  auto attention = randomised(MultiHeadAttentionOptions(kE, kH).bias(false));
  attention->eval();
  const auto clone = std::dynamic_pointer_cast<MultiHeadSelfAttentionImpl>(attention->clone());
  testing_support::expect_clone_is_equal_and_separate(*attention, *clone);
  const auto x = input();
  EXPECT_TENSOR_EQUAL(clone->forward(x).output, attention(x).output);
}

TEST(MultiHeadSelfAttention, SavingAndLoadingKeepsEveryWeight) {
  MultiHeadSelfAttention loaded(kE, kH);
  testing_support::expect_save_load_round_trip(randomised({kE, kH}, torch::kFloat), loaded);
}

// Twice the length, twice the memory; [T, S] scores or biases would take four times as much.
TEST(MultiHeadSelfAttention, MemoryGrowsWithTheLengthForwardAndBackward) {
  using Options = MultiHeadAttentionOptions;
  for (const auto& options :
       {Options(32, 4), Options(32, 4).relative_bias(RelativeBiasOptions{})}) {
    const auto peak = [&](int64_t length) {
      MultiHeadSelfAttention attention(options);
      const auto x = torch::randn({1, length, 32}).requires_grad_();
      const testing_support::PeakMemory memory;
      attention(x, AttentionMask::causal()).output.sum().backward();
      return static_cast<double>(memory.peak());
    };
    peak(64);  // what a first call allocates for good
    EXPECT_LT(peak(2048) / peak(1024), 2.2);
  }
}

TEST(MultiHeadSelfAttention, ErrorsNameWhatWasExpectedAndGot) {
  EXPECT_THROW_MESSAGE(MultiHeadSelfAttention(MultiHeadAttentionOptions(8, 2).key_dim(4)),
                       c10::ValueError,
                       "MultiHeadSelfAttention: expected query_dim, key_dim and value_dim equal to "
                       "embed_dim 8, got 8, 4 and 8");
  EXPECT_THROW_MESSAGE(MultiHeadSelfAttention(10, 4), c10::ValueError,
                       "MultiHeadSelfAttention: expected embed_dim divisible by num_heads, got "
                       "embed_dim 10 and num_heads 4");
  MultiHeadSelfAttention attention(kE, kH);
  EXPECT_THROW_MESSAGE(attention(torch::zeros({kB, kT, 8})), c10::Error,
                       "MultiHeadSelfAttention: expected x of shape [-1, -1, 24] (-1 = any), got "
                       "[2, 5, 8]");
  EXPECT_THROW_MESSAGE(attention(torch::zeros({8})), c10::Error,
                       "MultiHeadSelfAttention: expected x with 2 to 3 dimensions, got [8]");
  KeyValueCache cache;
  EXPECT_THROW_MESSAGE(attention->step(torch::zeros({kT, kE}), cache), c10::Error,
                       "MultiHeadSelfAttention: expected x of shape [-1, -1, 24] (-1 = any), got "
                       "[5, 24]");
  EXPECT_EQ(cache.length(), 0);
}

}  // namespace
}  // namespace attend::multi_head_self_attention_test
