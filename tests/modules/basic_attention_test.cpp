#include "attend/modules/basic_attention.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "attend/functional/linear.h"
#include "support/autocast.h"
#include "support/devices.h"
#include "support/module_checks.h"
#include "support/oracle.h"
#include "support/tensor_assert.h"

namespace attend::basic_attention_test {
namespace {

using testing_support::DeviceTest;
using testing_support::expect_finite_gradients;
using testing_support::parameters_of;
using testing_support::randomise;

constexpr int64_t kB = 2, kT = 3, kS = 5, kQueryDim = 6, kKeyDim = 4, kHidden = 8, kValueDim = 7;
constexpr double kInf = std::numeric_limits<double>::infinity();

BasicAttention randomised(const BasicAttentionOptions& options,
                          torch::Dtype dtype = torch::kDouble) {
  BasicAttention attention(options);
  randomise(*attention);
  attention->to(dtype);
  return attention;
}

BasicAttentionOptions sizes() { return {kQueryDim, kKeyDim, kHidden}; }

struct Inputs {
  torch::Tensor query, key, value;
};

Inputs inputs(torch::Dtype dtype = torch::kDouble) {
  return {torch::randn({kB, kT, kQueryDim}, torch::kDouble).to(dtype),
          torch::randn({kB, kS, kKeyDim}, torch::kDouble).to(dtype),
          torch::randn({kB, kS, kValueDim}, torch::kDouble).to(dtype)};
}

TEST(BasicAttention, IsTheWeightedMeanByHand) {
  BasicAttention attention(1, 1, 1);
  attention->to(torch::kDouble);
  const torch::NoGradGuard no_grad;
  attention->q_proj->weight.fill_(2.0);
  attention->k_proj->weight.fill_(-1.0);
  attention->v.fill_(2.0);
  // Scores 2 tanh(2 * 0.5 - k): 0 for k = 1, and ln 3 for k = 1 - atanh(ln(3) / 2).
  const auto query = torch::tensor({{{0.5}}}, torch::kDouble);
  const auto key =
      torch::tensor({{{1.0}, {1.0 - std::atanh(std::log(3.0) / 2.0)}}}, torch::kDouble);
  const auto value = torch::tensor({{{4.0, 0.0}, {8.0, -4.0}}}, torch::kDouble);
  const auto [output, weights] =
      attention(query, key, value, AttentionMask(), WeightsRequest::kPerHead);
  EXPECT_TENSOR_NEAR(weights, torch::tensor({{{0.25, 0.75}}}, torch::kDouble), 1e-15);
  EXPECT_TENSOR_NEAR(output, torch::tensor({{{7.0, -3.0}}}, torch::kDouble), 1e-14);
}

class BasicAttentionOn : public DeviceTest {};
ATTEND_INSTANTIATE_ON_DEVICES(BasicAttentionOn);

TEST_P(BasicAttentionOn, AgreesWithTheOracle) {
  for (const bool bias : {false, true}) {
    auto attention = placed(BasicAttention(sizes().bias(bias)));
    randomise(*attention);
    const auto weights = oracle::weights_of(*attention);
    const auto query = randn({kB, kT, kQueryDim}), key = randn({kB, kS, kKeyDim});
    const auto value = randn({kB, kS, kValueDim});
    const auto allowed = (torch::rand({kT, kS}) < 0.7).to(options().device());
    const auto expected = oracle::additive_attention(oracle::linear(query, weights, "q_proj"),
                                                     oracle::linear(key, weights, "k_proj"),
                                                     weights.at("v"), value, {allowed, {}});
    const auto result =
        attention(query, key, value, AttentionMask(allowed), WeightsRequest::kPerHead);
    EXPECT_TENSOR_NEAR(result.output, expected.output, tolerance());
    EXPECT_TENSOR_NEAR(result.weights, expected.weights, tolerance());
    EXPECT_EQ(result.output.scalar_type(), GetParam().dtype);
  }
}

TEST_P(BasicAttentionOn, AQueryWithoutAKeyGetsZerosAndFiniteGradients) {
  for (const double dropout : {0.0, 0.5}) {
    auto attention = placed(BasicAttention(sizes().bias(true).dropout(dropout)));
    attention->train();
    auto bias = torch::zeros({kT, kS});
    bias[1].fill_(-kInf);
    const auto device = options().device();
    const std::vector<AttentionMask> masks = {
        torch::isfinite(bias).to(device), bias.to(device),
        AttentionMask::key_lengths(torch::tensor({0, 4}).to(device))};
    for (size_t i = 0; i < masks.size(); ++i) {
      attention->zero_grad();
      const auto query = randn({kB, kT, kQueryDim}).requires_grad_();
      const auto key = randn({kB, kS, kKeyDim}).requires_grad_();
      const auto value = randn({kB, kS, kValueDim}).requires_grad_();
      const auto [output, weights] =
          attention(query, key, value, masks[i], WeightsRequest::kPerHead);
      const auto empty = [&](const torch::Tensor& x) { return i < 2 ? x.select(1, 1) : x[0]; };
      EXPECT_EQ(empty(output).abs().sum().item<double>(), 0.0);
      EXPECT_EQ(empty(weights).abs().sum().item<double>(), 0.0);
      (output.sum() + (weights * weights).sum()).backward();
      expect_finite_gradients({{"query", query}, {"key", key}, {"value", value}});
      expect_finite_gradients(parameters_of(*attention));
    }
  }
}

TEST(BasicAttention, WeightsSumToOneAndTheOutputDoesNotDependOnTheRequest) {
  auto attention = randomised(sizes().dropout(0.5));
  const auto given = inputs();
  const auto run = [&](WeightsRequest request) {
    torch::manual_seed(7);
    return attention(given.query, given.key, given.value, AttentionMask(), request);
  };
  const auto alone = run(WeightsRequest::kNone), with = run(WeightsRequest::kMean);
  EXPECT_FALSE(alone.weights.defined());
  EXPECT_TENSOR_EQUAL(with.output, alone.output);
  EXPECT_TENSOR_NEAR(with.weights.sum(-1), torch::ones({kB, kT}), 1e-12);
}

TEST(BasicAttention, PermutingKeysWithTheirValuesChangesNothing) {
  auto attention = randomised(sizes());
  const auto [query, key, value] = inputs();
  const auto order = torch::randperm(kS, torch::kLong);
  EXPECT_TENSOR_NEAR(
      attention(query, key.index_select(1, order), value.index_select(1, order)).output,
      attention(query, key, value).output, 1e-12);
}

TEST(BasicAttention, PaddedKeysAreAsGoodAsAbsentOnes) {
  auto attention = randomised(sizes());
  const auto [query, key, value] = inputs();
  const auto longer = [](const torch::Tensor& x) {
    return torch::cat({x, 100.0 * torch::randn({kB, 2, x.size(2)}, torch::kDouble)}, 1);
  };
  const auto lengths = AttentionMask::key_lengths(torch::tensor({kS, kS}));
  EXPECT_TENSOR_NEAR(attention(query, longer(key), longer(value), lengths).output,
                     attention(query, key, value).output, 1e-12);
}

TEST(BasicAttention, ChangingTheFutureLeavesThePastUnchanged) {
  auto attention = randomised(BasicAttentionOptions(kKeyDim, kKeyDim, kHidden));
  const auto x = torch::randn({kB, kS, kKeyDim}, torch::kDouble);
  auto changed = x.clone();
  changed.narrow(1, 3, 2).normal_();
  const auto before = attention(x, x, x, AttentionMask::causal()).output;
  const auto after = attention(changed, changed, changed, AttentionMask::causal()).output;
  EXPECT_TENSOR_NEAR(after.narrow(1, 0, 3), before.narrow(1, 0, 3), 1e-14);
  EXPECT_GT((before - after).narrow(1, 3, 2).abs().min().item<double>(), 0.0);
}

TEST(BasicAttention, UnbatchedInputIsTheBatchedOneSqueezed) {
  auto attention = randomised(sizes());
  const auto [query, key, value] = inputs();
  const auto mask = torch::rand({kT, kS}) < 0.7;
  const auto batched = attention(query.narrow(0, 1, 1), key.narrow(0, 1, 1), value.narrow(0, 1, 1),
                                 AttentionMask(mask), WeightsRequest::kPerHead);
  const auto single =
      attention(query[1], key[1], value[1], AttentionMask(mask), WeightsRequest::kPerHead);
  EXPECT_TENSOR_NEAR(single.output, batched.output[0], 1e-14);
  EXPECT_TENSOR_NEAR(single.weights, batched.weights[0], 1e-14);
}

TEST(BasicAttention, StepsWithKeysProjectedOnceAreTheFullPass) {
  auto attention = randomised(sizes());
  const auto [query, key, value] = inputs();
  const auto full = attention(query, key, value, AttentionMask(), WeightsRequest::kPerHead);
  const auto projected = attention->project_key(key);
  for (int64_t t = 0; t < kT; ++t) {
    const auto step =
        attention->attend(query.narrow(1, t, 1), projected, value, {}, WeightsRequest::kPerHead);
    EXPECT_TENSOR_NEAR(step.output, full.output.narrow(1, t, 1), 1e-12);
    EXPECT_TENSOR_NEAR(step.weights, full.weights.narrow(1, t, 1), 1e-12);
  }
}

TEST(BasicAttention, GradientsMatchDifferences) {
  auto attention = randomised(sizes().bias(true));
  const auto query = torch::randn({kB, kT, kQueryDim}, torch::kDouble).requires_grad_();
  const auto key = torch::randn({kB, kS, kKeyDim}, torch::kDouble).requires_grad_();
  const auto value = torch::randn({kB, kS, kValueDim}, torch::kDouble).requires_grad_();
  auto leaves = parameters_of(*attention);
  leaves.push_back({"query", query});
  leaves.push_back({"key", key});
  leaves.push_back({"value", value});
  testing_support::expect_gradients_match_differences(
      [&] { return attention(query, key, value, AttentionMask::causal()).output; }, leaves);
}

TEST(BasicAttention, UnderAutocastItRunsInBFloat16) {
  auto attention = randomised(sizes(), torch::kFloat);
  const auto [query, key, value] = inputs(torch::kFloat);
  const auto plain = attention(query, key, value, AttentionMask(), WeightsRequest::kPerHead);
  const testing_support::CpuAutocast autocast;
  const auto half = attention(query, key, value, AttentionMask(), WeightsRequest::kPerHead);
  EXPECT_TENSOR_NEAR(half.output, plain.output, 1e-1);
  EXPECT_EQ(half.weights.scalar_type(), torch::kFloat);
}

TEST(BasicAttention, HeadsAreAttentionsOfTheirOwn) {
  constexpr int64_t kHeads = 2, kPart = kHidden / kHeads, kValues = 6;
  auto attention =
      randomised(sizes().bias(true).num_heads(kHeads).score_function(ScoreFunction::kLeakyRelu));
  const auto [query, key, unused] = inputs();
  const auto value = torch::randn({kB, kS, kValues}, torch::kDouble);
  const auto [output, weights] =
      attention(query, key, value, AttentionMask::causal(), WeightsRequest::kPerHead);
  const auto q = functional::linear(query, attention->q_proj);
  const auto k = attention->project_key(key);
  for (int64_t h = 0; h < kHeads; ++h) {
    const auto one = functional::additive_attention(
        q.narrow(2, h * kPart, kPart), k.narrow(2, h * kPart, kPart),
        attention->v.narrow(0, h * kPart, kPart), value.narrow(2, h * 3, 3),
        AttentionMask::causal(), WeightsRequest::kPerHead,
        {.score_function = ScoreFunction::kLeakyRelu});
    EXPECT_TENSOR_NEAR(output.narrow(2, h * 3, 3), one.output, 1e-12);
    EXPECT_TENSOR_NEAR(weights.select(1, h), one.weights, 1e-12);
  }
  const auto single = attention(query[1], key[1], value[1], AttentionMask::causal());
  EXPECT_TENSOR_NEAR(single.output, output[1], 1e-12);
}

TEST(BasicAttention, AClipKeepsTheScoresOfAPointerWithinBounds) {
  auto attention = randomised(sizes().score_clip(0.5));
  const auto in = inputs();
  const auto ask = [&](WeightsRequest::Values values) {
    return attention(in.query, in.key, in.value, AttentionMask(),
                     WeightsRequest(WeightsRequest::kMean).values(values))
        .weights;
  };
  const auto scores = ask(WeightsRequest::Values::kScores);
  EXPECT_LE(scores.abs().max().item<double>(), 0.5);
  auto plain = randomised(sizes());
  torch::NoGradGuard no_grad;
  for (const auto& parameter : plain->named_parameters()) {
    parameter.value().copy_(attention->named_parameters()[parameter.key()]);
  }
  const auto unbounded =
      plain(in.query, in.key, in.value, AttentionMask(),
            WeightsRequest(WeightsRequest::kMean).values(WeightsRequest::Values::kScores))
          .weights;
  EXPECT_TENSOR_NEAR(scores, 0.5 * torch::tanh(unbounded), 1e-12);
  EXPECT_TENSOR_NEAR(ask(WeightsRequest::Values::kLogProbabilities), torch::log_softmax(scores, -1),
                     1e-12);
}

TEST(BasicAttention, ACloneIsEqualAndSeparate) {
  for (const auto dtype : {torch::kFloat, torch::kDouble}) {
    auto attention = randomised(sizes().bias(true), dtype);
    attention->eval();
    const auto clone = std::dynamic_pointer_cast<BasicAttentionImpl>(attention->clone());
    testing_support::expect_clone_is_equal_and_separate(*attention, *clone);
    const auto [query, key, value] = inputs(dtype);
    EXPECT_TENSOR_EQUAL(clone->forward(query, key, value).output,
                        attention(query, key, value).output);
  }
}

TEST(BasicAttention, SavingAndLoadingKeepsEveryWeight) {
  BasicAttention loaded(sizes());
  testing_support::expect_save_load_round_trip(randomised(sizes(), torch::kFloat), loaded);
}

TEST(BasicAttention, ErrorsNameWhatWasExpectedAndGot) {
  EXPECT_THROW_MESSAGE(BasicAttention(0, 4, 8), c10::ValueError,
                       "BasicAttention: expected query_dim > 0, got 0");
  EXPECT_THROW_MESSAGE(BasicAttention(6, -4, 8), c10::ValueError,
                       "BasicAttention: expected key_dim > 0, got -4");
  EXPECT_THROW_MESSAGE(BasicAttention(6, 4, 0), c10::ValueError,
                       "BasicAttention: expected hidden_dim > 0, got 0");
  EXPECT_THROW_MESSAGE(BasicAttention(sizes().dropout(1.0)), c10::ValueError,
                       "BasicAttention: expected 0 <= dropout < 1, got 1");
  EXPECT_THROW_MESSAGE(BasicAttention(sizes().num_heads(3)), c10::ValueError,
                       "BasicAttention: expected hidden_dim divisible by num_heads 3, got 8");
  EXPECT_THROW_MESSAGE(BasicAttention(sizes().score_clip(-1.0)), c10::ValueError,
                       "BasicAttention: expected score_clip >= 0, got -1");
  auto attention = randomised(sizes(), torch::kFloat);
  const auto given = inputs(torch::kFloat);
  const auto &q = given.query, &k = given.key, &v = given.value;
  EXPECT_THROW_MESSAGE(attention(q, k[0][0], v), c10::Error,
                       "BasicAttention: expected key with 2 to 3 dimensions, got [4]");
  EXPECT_THROW_MESSAGE(attention(torch::Tensor(), k, v), c10::Error,
                       "BasicAttention: expected query with 2 to 3 dimensions, got an undefined "
                       "tensor");
  EXPECT_THROW_MESSAGE(attention(q, q, v), c10::Error,
                       "BasicAttention key: expected an input whose last size is 4, got [2, 3, 6]");
  EXPECT_THROW_MESSAGE(attention(k, k, v), c10::Error,
                       "BasicAttention query: expected an input whose last size is 6, got "
                       "[2, 5, 4]");
  EXPECT_THROW_MESSAGE(attention(q.narrow(0, 0, 1), k, v), c10::Error,
                       "additive_attention: expected key of shape [1, -1, 8] (-1 = any), got "
                       "[2, 5, 8]");
  EXPECT_THROW_MESSAGE(attention(q, k, v.narrow(1, 0, 4)), c10::Error,
                       "additive_attention: expected value of shape [2, 5, -1] (-1 = any), got "
                       "[2, 4, 7]");
  EXPECT_THROW_MESSAGE(attention(q, k, v.to(torch::kDouble)), c10::Error,
                       "additive_attention: expected value of dtype Float like query, got Double");
  EXPECT_THROW_MESSAGE(attention(q.to(torch::kMeta), k, v), c10::Error,
                       "BasicAttention query: expected an input on cpu like the weight, got meta");
}

}  // namespace
}  // namespace attend::basic_attention_test
