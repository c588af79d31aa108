#include "attend/modules/multi_head_attention.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "support/autocast.h"
#include "support/devices.h"
#include "support/module_checks.h"
#include "support/oracle.h"
#include "support/tensor_assert.h"

namespace attend::multi_head_attention_test {
namespace {

using testing_support::DeviceTest;
using testing_support::expect_finite_gradients;
using testing_support::expect_gradients_match_differences;
using testing_support::parameters_of;
using testing_support::randomise;

// All sizes differ, so that a transposed axis cannot go unnoticed.
constexpr int64_t kB = 2, kT = 3, kS = 5, kH = 4, kE = 24, kQueryDim = 7, kKeyDim = 9,
                  kValueDim = 11;
constexpr double kInf = std::numeric_limits<double>::infinity();

MultiHeadAttentionOptions sizes() {
  return MultiHeadAttentionOptions(kE, kH).query_dim(kQueryDim).key_dim(kKeyDim).value_dim(
      kValueDim);
}

MultiHeadAttention randomised(const MultiHeadAttentionOptions& options,
                              torch::Dtype dtype = torch::kDouble) {
  MultiHeadAttention attention(options);
  randomise(*attention);
  attention->to(dtype);
  return attention;
}

struct Inputs {
  torch::Tensor query, key, value;
};

Inputs inputs(torch::Dtype dtype = torch::kDouble) {
  return {torch::randn({kB, kT, kQueryDim}, torch::kDouble).to(dtype),
          torch::randn({kB, kS, kKeyDim}, torch::kDouble).to(dtype),
          torch::randn({kB, kS, kValueDim}, torch::kDouble).to(dtype)};
}

TEST(MultiHeadAttention, IsTheWeightedMeanByHandInEveryHead) {
  // Two heads of size 1. The projections are the identity but for the values, which head 2 negates,
  // and the output, which swaps the heads.
  MultiHeadAttention attention(MultiHeadAttentionOptions(2, 2).bias(false));
  const torch::NoGradGuard no_grad;
  attention->to(torch::kDouble);
  attention->q_proj->weight.copy_(torch::eye(2));
  attention->k_proj->weight.copy_(torch::eye(2));
  attention->v_proj->weight.copy_(torch::tensor({{1.0, 0.0}, {0.0, -1.0}}));
  attention->out_proj->weight.copy_(torch::tensor({{0.0, 1.0}, {1.0, 0.0}}));
  const auto query = torch::tensor({{{1.0, 1.0}}}, torch::kDouble);
  // Head 1 scores 0 and ln 3, head 2 scores ln 4 and 0.
  const auto key = torch::tensor({{{0.0, std::log(4.0)}, {std::log(3.0), 0.0}}}, torch::kDouble);
  const auto value = torch::tensor({{{4.0, 10.0}, {8.0, 20.0}}}, torch::kDouble);
  const auto [output, weights] =
      attention(query, key, value, AttentionMask(), WeightsRequest::kPerHead);
  EXPECT_TENSOR_NEAR(weights, torch::tensor({{{{0.25, 0.75}}, {{0.8, 0.2}}}}, torch::kDouble),
                     1e-15);
  EXPECT_TENSOR_NEAR(output, torch::tensor({{{-12.0, 7.0}}}, torch::kDouble), 1e-14);
}

class MultiHeadAttentionOn : public DeviceTest {};
ATTEND_INSTANTIATE_ON_DEVICES(MultiHeadAttentionOn);

TEST_P(MultiHeadAttentionOn, AgreesWithTheOracle) {
  for (const bool bias : {true, false}) {
    const auto attention = placed(MultiHeadAttention(sizes().bias(bias)));
    auto module = attention;
    randomise(*module);
    const auto weights = oracle::weights_of(*module);
    const auto query = randn({kB, kT, kQueryDim}), key = randn({kB, kS, kKeyDim});
    const auto value = randn({kB, kS, kValueDim});
    const auto allowed = (torch::rand({kB, kH, kT, kS}) < 0.7).to(options().device());
    const std::vector<std::pair<AttentionMask, oracle::Mask>> cases = {
        {{}, {}},
        {allowed, {allowed, {}}},
        {AttentionMask::causal(), {oracle::causal(kT, kS), {}}}};
    for (const auto& [mask, meaning] : cases) {
      const auto expected = oracle::multi_head_attention(query, key, value, weights, kH, meaning);
      const auto per_head = module(query, key, value, mask, WeightsRequest::kPerHead);
      const auto mean = module(query, key, value, mask, WeightsRequest::kMean);
      EXPECT_TENSOR_NEAR(per_head.output, expected.output, 2.0 * tolerance());
      EXPECT_TENSOR_NEAR(per_head.weights, expected.weights, tolerance());
      EXPECT_TENSOR_NEAR(mean.weights, expected.weights.mean(1), tolerance());
      EXPECT_EQ(per_head.output.scalar_type(), GetParam().dtype);
      EXPECT_EQ(per_head.weights.scalar_type(),
                GetParam().dtype == torch::kDouble ? torch::kDouble : torch::kFloat);
    }
  }
}

TEST_P(MultiHeadAttentionOn, AQueryWithoutAKeyGetsTheBiasOfTheOutputAndFiniteGradients) {
  for (const double dropout : {0.0, 0.5}) {
    auto attention = placed(MultiHeadAttention(sizes().dropout(dropout)));
    attention->train();
    auto bias = torch::zeros({kT, kS});
    bias[1].fill_(-kInf);
    const auto device = options().device();
    const std::vector<AttentionMask> masks = {
        torch::isfinite(bias).to(device), bias.to(device),
        AttentionMask::key_lengths(torch::tensor({0, 4}).to(device)),
        AttentionMask::padding(torch::zeros({kB, kS}, torch::kBool).to(device))};
    for (size_t i = 0; i < masks.size(); ++i) {
      SCOPED_TRACE(testing::Message() << "mask " << i << ", dropout " << dropout);
      attention->zero_grad();
      const auto query = randn({kB, kT, kQueryDim}).requires_grad_();
      const auto key = randn({kB, kS, kKeyDim}).requires_grad_();
      const auto value = randn({kB, kS, kValueDim}).requires_grad_();
      const auto [output, weights] =
          attention(query, key, value, masks[i], WeightsRequest::kPerHead);
      // Zero attention: what remains is the output projection of zero.
      const auto row = i < 2 ? output.select(1, 1) : output.select(0, 0);
      EXPECT_TENSOR_NEAR(row, attention->out_proj->bias.expand_as(row), 0.0);
      EXPECT_EQ((i < 2 ? weights.select(2, 1) : weights.select(0, 0)).abs().sum().item<double>(),
                0.0);
      (output.sum() + (weights * weights).sum()).backward();
      expect_finite_gradients({{"query", query}, {"key", key}, {"value", value}});
      expect_finite_gradients(parameters_of(*attention));
    }
  }
}

TEST_P(MultiHeadAttentionOn, TheOutputIsTheSameBitsWithAndWithoutARequest) {
  for (const double dropout : {0.0, 0.5}) {
    auto attention = placed(MultiHeadAttention(sizes().dropout(dropout)));
    attention->train();
    const auto query = randn({kB, kT, kQueryDim}), key = randn({kB, kS, kKeyDim});
    const auto value = randn({kB, kS, kValueDim});
    const auto run = [&](WeightsRequest request) {
      torch::manual_seed(7);
      return attention(query, key, value, AttentionMask::causal(), request);
    };
    const auto alone = run(WeightsRequest::kNone);
    EXPECT_FALSE(alone.weights.defined());
    EXPECT_TENSOR_EQUAL(run(WeightsRequest::kPerHead).output, alone.output);
    EXPECT_TENSOR_EQUAL(run(WeightsRequest::kMean).output, alone.output);
  }
}

TEST(MultiHeadAttention, WeightsSumToOneBeforeDropout) {
  const auto attention = randomised(sizes().dropout(0.5));
  const auto [query, key, value] = inputs();
  auto module = attention;
  module->train();
  const auto weights = module(query, key, value, AttentionMask(), WeightsRequest::kPerHead).weights;
  EXPECT_TENSOR_NEAR(weights.sum(-1), torch::ones({kB, kH, kT}, torch::kDouble), 1e-12);
}

TEST(MultiHeadAttention, DropoutIsForTrainingOnly) {
  auto attention = randomised(sizes().dropout(0.5));
  const auto [query, key, value] = inputs();
  attention->train();
  const auto first = attention(query, key, value).output,
             second = attention(query, key, value).output;
  EXPECT_GT((first - second).abs().max().item<double>(), 1e-3);
  attention->eval();
  EXPECT_TENSOR_EQUAL(attention(query, key, value).output, attention(query, key, value).output);
}

TEST(MultiHeadAttention, PermutingKeysWithTheirValuesChangesNothing) {
  auto attention = randomised(sizes());
  const auto [query, key, value] = inputs();
  const auto order = torch::randperm(kS, torch::kLong);
  EXPECT_TENSOR_NEAR(
      attention(query, key.index_select(1, order), value.index_select(1, order)).output,
      attention(query, key, value).output, 1e-12);
}

TEST(MultiHeadAttention, PermutingQueriesPermutesTheOutput) {
  auto attention = randomised(sizes());
  const auto [query, key, value] = inputs();
  const auto order = torch::tensor({2, 0, 1});
  EXPECT_TENSOR_NEAR(attention(query.index_select(1, order), key, value).output,
                     attention(query, key, value).output.index_select(1, order), 1e-12);
}

TEST(MultiHeadAttention, PaddedKeysAreAsGoodAsAbsentOnes) {
  auto attention = randomised(sizes());
  const auto [query, key, value] = inputs();
  const auto longer = [](const torch::Tensor& x) {
    return torch::cat({x, 100.0 * torch::randn({kB, 2, x.size(2)}, torch::kDouble)}, 1);
  };
  const auto lengths = AttentionMask::key_lengths(torch::tensor({kS, kS}));
  EXPECT_TENSOR_NEAR(attention(query, longer(key), longer(value), lengths).output,
                     attention(query, key, value).output, 1e-12);
}

TEST(MultiHeadAttention, UnbatchedInputIsTheBatchedOneSqueezed) {
  auto attention = randomised(sizes());
  const auto [query, key, value] = inputs();
  const auto mask = torch::rand({kH, kT, kS}) < 0.7;
  for (const auto request : {WeightsRequest::kPerHead, WeightsRequest::kMean}) {
    const auto batched = attention(query.narrow(0, 1, 1), key.narrow(0, 1, 1),
                                   value.narrow(0, 1, 1), mask.unsqueeze(0), request);
    // [H, T, S] has one reading where there is no batch.
    const auto single = attention(query[1], key[1], value[1], mask, request);
    EXPECT_TENSOR_EQUAL(single.output, batched.output.squeeze(0));
    EXPECT_TENSOR_EQUAL(single.weights, batched.weights.squeeze(0));
    const auto joined =
        attention(query[1], key[1], value[1], AttentionMask::causal() & mask, request);
    const auto batched_joined =
        attention(query.narrow(0, 1, 1), key.narrow(0, 1, 1), value.narrow(0, 1, 1),
                  AttentionMask::causal() & mask.unsqueeze(0), request);
    EXPECT_TENSOR_EQUAL(joined.output, batched_joined.output.squeeze(0));
  }
}

TEST(MultiHeadAttention, InputsThatAreNotContiguousAreTaken) {
  auto attention = randomised(sizes());
  const auto [query, key, value] = inputs();
  const auto strided = [](const torch::Tensor& x) {
    return x.transpose(0, 1).contiguous().transpose(0, 1);
  };
  EXPECT_TENSOR_NEAR(attention(strided(query), strided(key), strided(value)).output,
                     attention(query, key, value).output, 1e-14);
}

TEST(MultiHeadAttention, ProjectedMemoryGivesTheSameResult) {
  auto attention = randomised(sizes());
  const auto [query, key, value] = inputs();
  const auto memory = attention->project_key_value(key, value);
  EXPECT_EQ(memory.key.sizes(), (std::vector<int64_t>{kB, kH, kS, kE / kH}));
  const auto allowed = torch::rand({kT, kS}) < 0.7;
  const auto direct = attention(query, key, value, allowed, WeightsRequest::kPerHead);
  const auto projected = attention->attend(query, memory, allowed, WeightsRequest::kPerHead);
  EXPECT_TENSOR_EQUAL(projected.output, direct.output);
  EXPECT_TENSOR_EQUAL(projected.weights, direct.weights);
}

TEST(MultiHeadAttention, GradientsMatchDifferences) {
  auto attention = randomised(MultiHeadAttentionOptions(6, 2).query_dim(4).key_dim(5).value_dim(7));
  const auto query = torch::randn({kB, kT, 4}, torch::kDouble).requires_grad_();
  const auto key = torch::randn({kB, kS, 5}, torch::kDouble).requires_grad_();
  const auto value = torch::randn({kB, kS, 7}, torch::kDouble).requires_grad_();
  auto allowed = torch::rand({kT, kS}) < 0.8;
  allowed[1].fill_(false);
  auto leaves = parameters_of(*attention);
  leaves.push_back({"query", query});
  leaves.push_back({"key", key});
  leaves.push_back({"value", value});
  const auto attend = [&] {
    return attention(query, key, value, AttentionMask(allowed), WeightsRequest::kPerHead);
  };
  expect_gradients_match_differences([&] { return attend().output; }, leaves);
  const std::vector<testing_support::NamedTensor> of_weights = {
      {"query", query},
      {"key", key},
      {"q_proj.weight", attention->q_proj->weight},
      {"k_proj.weight", attention->k_proj->weight},
      {"q_proj.bias", attention->q_proj->bias}};
  expect_gradients_match_differences([&] { return attend().weights; }, of_weights);
}

TEST(MultiHeadAttention, UnderAutocastItRunsInBFloat16) {
  auto attention = randomised(sizes(), torch::kFloat);
  const auto [query, key, value] = inputs(torch::kFloat);
  const auto plain = attention(query, key, value, AttentionMask(), WeightsRequest::kPerHead);
  const testing_support::CpuAutocast autocast;
  const auto half = attention(query, key, value, AttentionMask(), WeightsRequest::kPerHead);
  EXPECT_EQ(half.output.scalar_type(), torch::kBFloat16);
  EXPECT_EQ(half.weights.scalar_type(), torch::kFloat);
  EXPECT_TENSOR_NEAR(half.weights.sum(-1), torch::ones({kB, kH, kT}), 1e-6);
  EXPECT_TENSOR_NEAR(half.output, plain.output, 1e-1);
}

// Xavier's uniform bounds: of the packed [3 E, E] matrix for query, key and value, as torch::nn has
// it, and of [E, E] for the output.
TEST(MultiHeadAttention, ProjectionsStartWithinTheBoundsOfOnePackedMatrix) {
  torch::manual_seed(1);
  constexpr int64_t kWide = 64;
  const MultiHeadAttention attention(kWide, kH);
  const auto largest = [](const torch::nn::Linear& layer) {
    return layer->weight.abs().max().item<double>();
  };
  const double packed = std::sqrt(6.0 / (4.0 * kWide)), single = std::sqrt(6.0 / (2.0 * kWide));
  for (const auto& layer : {attention->q_proj, attention->k_proj, attention->v_proj}) {
    EXPECT_LE(largest(layer), packed);
    EXPECT_GT(largest(layer), 0.99 * packed);
    EXPECT_EQ(layer->bias.abs().sum().item<double>(), 0.0);
  }
  EXPECT_LE(largest(attention->out_proj), single);
  EXPECT_GT(largest(attention->out_proj), 0.99 * single);
}

TEST(MultiHeadAttention, ParameterNamesAreThoseOfHuggingFace) {
  EXPECT_EQ(MultiHeadAttention(kE, kH)->named_parameters().keys(),
            (std::vector<std::string>{"k_proj.weight", "k_proj.bias", "v_proj.weight",
                                      "v_proj.bias", "q_proj.weight", "q_proj.bias",
                                      "out_proj.weight", "out_proj.bias"}));
  EXPECT_EQ(MultiHeadAttention(sizes().bias(false))->named_parameters().keys(),
            (std::vector<std::string>{"k_proj.weight", "v_proj.weight", "q_proj.weight",
                                      "out_proj.weight"}));
  EXPECT_TRUE(MultiHeadAttention(kE, kH)->named_buffers().is_empty());
}

TEST(MultiHeadAttention, ACloneIsEqualAndSeparate) {
  for (const auto dtype : {torch::kFloat, torch::kDouble}) {
    auto attention = randomised(sizes().bias(false).dropout(0.5), dtype);
    attention->eval();
    const auto clone = std::dynamic_pointer_cast<MultiHeadAttentionImpl>(attention->clone());
    testing_support::expect_clone_is_equal_and_separate(*attention, *clone);
    const auto [query, key, value] = inputs(dtype);
    EXPECT_TENSOR_EQUAL(clone->forward(query, key, value).output,
                        attention(query, key, value).output);
  }
}

TEST(MultiHeadAttention, SavingAndLoadingKeepsEveryWeight) {
  const auto saved = randomised(sizes(), torch::kFloat);
  MultiHeadAttention loaded(sizes());
  testing_support::expect_save_load_round_trip(saved, loaded);
}

TEST(MultiHeadAttention, OptionErrorsNameWhatWasExpectedAndGot) {
  using Options = MultiHeadAttentionOptions;
  EXPECT_THROW_MESSAGE(MultiHeadAttention(Options(10, 4)), c10::ValueError,
                       "MultiHeadAttention: expected embed_dim divisible by num_heads, got "
                       "embed_dim 10 and num_heads 4");
  EXPECT_THROW_MESSAGE(MultiHeadAttention(Options(0, 4)), c10::ValueError,
                       "MultiHeadAttention: expected embed_dim > 0, got 0");
  EXPECT_THROW_MESSAGE(MultiHeadAttention(Options(8, 0)), c10::ValueError,
                       "MultiHeadAttention: expected num_heads > 0, got 0");
  EXPECT_THROW_MESSAGE(MultiHeadAttention(Options(8, -2)), c10::ValueError,
                       "MultiHeadAttention: expected num_heads > 0, got -2");
  EXPECT_THROW_MESSAGE(MultiHeadAttention(Options(8, 2).query_dim(0)), c10::ValueError,
                       "MultiHeadAttention: expected query_dim > 0, got 0");
  EXPECT_THROW_MESSAGE(MultiHeadAttention(Options(8, 2).key_dim(-1)), c10::ValueError,
                       "MultiHeadAttention: expected key_dim > 0, got -1");
  EXPECT_THROW_MESSAGE(MultiHeadAttention(Options(8, 2).value_dim(0)), c10::ValueError,
                       "MultiHeadAttention: expected value_dim > 0, got 0");
  EXPECT_THROW_MESSAGE(MultiHeadAttention(Options(8, 2).dropout(1.0)), c10::ValueError,
                       "MultiHeadAttention: expected 0 <= dropout < 1, got 1");
  EXPECT_THROW_MESSAGE(MultiHeadAttention(Options(8, 2).dropout(-0.1)), c10::ValueError,
                       "MultiHeadAttention: expected 0 <= dropout < 1, got -0.1");
}

TEST(MultiHeadAttention, InputErrorsNameWhatWasExpectedAndGot) {
  auto attention = randomised(sizes(), torch::kFloat);
  const auto given = inputs(torch::kFloat);
  const auto &q = given.query, &k = given.key, &v = given.value;
  EXPECT_THROW_MESSAGE(attention(q[0][0], k, v), c10::Error,
                       "MultiHeadAttention: expected query with 2 to 3 dimensions, got [7]");
  EXPECT_THROW_MESSAGE(
      attention(torch::Tensor(), k, v), c10::Error,
      "MultiHeadAttention: expected query with 2 to 3 dimensions, got an undefined "
      "tensor");
  EXPECT_THROW_MESSAGE(attention(q, k[0], v), c10::Error,
                       "MultiHeadAttention: expected key with 3 dimensions, got [5, 9]");
  EXPECT_THROW_MESSAGE(attention(q[0], k[0], v), c10::Error,
                       "MultiHeadAttention: expected value with 2 dimensions, got [2, 5, 11]");
  EXPECT_THROW_MESSAGE(attention(k, k, v), c10::Error,
                       "MultiHeadAttention: expected query of shape [-1, -1, 7] (-1 = any), got "
                       "[2, 5, 9]");
  EXPECT_THROW_MESSAGE(attention(q, q, v), c10::Error,
                       "MultiHeadAttention: expected key of shape [-1, -1, 9] (-1 = any), got "
                       "[2, 3, 7]");
  EXPECT_THROW_MESSAGE(attention(q, k, k), c10::Error,
                       "MultiHeadAttention: expected value of shape [2, 5, 11], got [2, 5, 9]");
  EXPECT_THROW_MESSAGE(attention(q, k, v.narrow(1, 0, 4)), c10::Error,
                       "MultiHeadAttention: expected value of shape [2, 5, 11], got [2, 4, 11]");
  EXPECT_THROW_MESSAGE(attention(q.narrow(0, 0, 1), k, v), c10::Error,
                       "MultiHeadAttention: expected query and key of one batch size, got query "
                       "[1, 3, 7] and 2 rows of key");
  EXPECT_THROW_MESSAGE(attention(q.to(torch::kDouble), k, v), c10::Error,
                       "MultiHeadAttention: expected an input of dtype Float like the weight, got "
                       "Double");
  EXPECT_THROW_MESSAGE(attention(q, k.to(torch::kMeta), v), c10::Error,
                       "MultiHeadAttention: expected an input on cpu like the weight, got meta");
  EXPECT_THROW_MESSAGE(attention(q, k, v, torch::ones({kB, kT, kS}, torch::kBool)), c10::Error,
                       "scaled_dot_product_attention: expected a mask [T, S] or [B, H, T, S], got "
                       "the 3-D shape [2, 3, 5], which has two readings: write mask.unsqueeze(1) "
                       "for [B, 1, T, S] or mask.unsqueeze(0) for [1, H, T, S]");
  EXPECT_THROW_MESSAGE(attention(q, k, v, torch::ones({kS, kT}, torch::kBool)), c10::Error,
                       "scaled_dot_product_attention: expected mask to broadcast to [2, 4, 3, 5], "
                       "got [5, 3]");
  EXPECT_THROW_MESSAGE(attention->attend(q, {}), c10::Error,
                       "MultiHeadAttention: expected query and key of one batch size, got query "
                       "[2, 3, 7] and 0 rows of key");
}

}  // namespace
}  // namespace attend::multi_head_attention_test
