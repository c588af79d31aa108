#include "attend/functional/attention.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "attend/functional/linear.h"

#include "functional/mask_parts.h"
#include "support/autocast.h"
#include "support/devices.h"
#include "support/module_checks.h"
#include "support/oracle.h"
#include "support/tensor_assert.h"

namespace attend::attention_test {
namespace {

using testing_support::DeviceTest;
using testing_support::expect_finite_gradients;
using testing_support::expect_gradients_match_differences;
using testing_support::NamedTensor;

constexpr int64_t kB = 2, kH = 4, kT = 3, kS = 5, kD = 6, kDv = 7, kA = 8;
constexpr double kInf = std::numeric_limits<double>::infinity();

torch::Tensor doubles(at::IntArrayRef sizes) { return torch::randn(sizes, torch::kDouble); }

torch::Tensor leaf(const torch::Tensor& x) { return x.clone().requires_grad_(); }

// ---- Scaled dot-product attention ----

TEST(ScaledDotProduct, IsTheWeightedMeanByHand) {
  // Scores q k / sqrt(1) of ln 1 and ln 3: weights 1/4 and 3/4.
  const auto query = torch::tensor({1.0}, torch::kDouble).view({1, 1, 1, 1});
  const auto key = torch::tensor({0.0, std::log(3.0)}, torch::kDouble).view({1, 1, 2, 1});
  const auto value = torch::tensor({{4.0, 0.0}, {8.0, -4.0}}, torch::kDouble).view({1, 1, 2, 2});
  const auto [output, weights] =
      functional::scaled_dot_product_attention(query, key, value, {}, WeightsRequest::kPerHead);
  EXPECT_TENSOR_NEAR(weights.flatten(), torch::tensor({0.25, 0.75}, torch::kDouble), 1e-15);
  EXPECT_TENSOR_NEAR(output.flatten(), torch::tensor({7.0, -3.0}, torch::kDouble), 1e-15);
}

TEST(ScaledDotProduct, TheScaleDefaultsToOneOverTheRootOfTheKeySize) {
  const auto query = doubles({kB, kH, kT, kD}), key = doubles({kB, kH, kS, kD});
  const auto value = doubles({kB, kH, kS, kDv});
  EXPECT_TENSOR_NEAR(functional::scaled_dot_product_attention(query, key, value).output,
                     oracle::attention(query, key, value, {}, 1.0 / std::sqrt(6.0)).output, 1e-12);
  EXPECT_TENSOR_NEAR(
      functional::scaled_dot_product_attention(query, key, value, {}, WeightsRequest::kNone,
                                               {.dropout_p = 0.0, .scale = 0.3})
          .output,
      oracle::attention(query, key, value, {}, 0.3).output, 1e-12);
  // The weights follow the same scale.
  EXPECT_TENSOR_NEAR(
      functional::scaled_dot_product_attention(query, key, value, {}, WeightsRequest::kPerHead,
                                               {.dropout_p = 0.0, .scale = 0.3})
          .weights,
      oracle::attention(query, key, value, {}, 0.3).weights, 1e-12);
}

class ScaledDotProductOn : public DeviceTest {
 protected:
  torch::Tensor query_, key_, value_;
  void SetUp() override {
    DeviceTest::SetUp();
    if (IsSkipped()) return;
    query_ = randn({kB, kH, kT, kD});
    key_ = randn({kB, kH, kS, kD});
    value_ = randn({kB, kH, kS, kD});
  }
};
ATTEND_INSTANTIATE_ON_DEVICES(ScaledDotProductOn);

TEST_P(ScaledDotProductOn, AgreesWithTheOracle) {
  const auto allowed = (torch::rand({kB, 1, kT, kS}) < 0.7).to(options().device());
  const auto bias = randn({1, kH, kT, kS});
  const auto wide_value = randn({kB, kH, kS, kDv});
  const auto same_length = randn({kB, kH, kS, kD});
  struct Case {
    const char* name;
    torch::Tensor query, value;
    AttentionMask mask;
    oracle::Mask meaning;
  };
  const std::vector<Case> cases = {
      {"no mask", query_, value_, {}, {}},
      {"causal, T < S", query_, value_, AttentionMask::causal(), {oracle::causal(kT, kS), {}}},
      {"causal, T = S", same_length, value_, AttentionMask::causal(), {oracle::causal(kS, kS), {}}},
      {"bool mask", query_, value_, allowed, {allowed, {}}},
      {"bias", query_, value_, bias, {{}, bias}},
      {"another value size", query_, wide_value, {}, {}},
      {"another value size with a mask", query_, wide_value, allowed, {allowed, {}}},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    const auto expected = oracle::attention(c.query, key_, c.value, c.meaning);
    const auto [output, weights] = functional::scaled_dot_product_attention(
        c.query, key_, c.value, c.mask, WeightsRequest::kPerHead);
    EXPECT_TENSOR_NEAR(output, expected.output, tolerance());
    // Weights are in float32 or wider, so they are as exact for 16-bit inputs.
    EXPECT_TENSOR_NEAR(weights, expected.weights, std::min(tolerance(), 1e-5));
    EXPECT_EQ(output.scalar_type(), GetParam().dtype);
    EXPECT_EQ(weights.scalar_type(),
              GetParam().dtype == torch::kDouble ? torch::kDouble : torch::kFloat);
  }
}

// Masks of every kind under which some queries have no key at all.
struct EmptyRows {
  const char* name;
  AttentionMask mask;
  torch::Tensor empty;  // bool [B, H, T, 1]
  int64_t source;
};

std::vector<EmptyRows> masks_with_empty_rows(const torch::TensorOptions& options) {
  const auto on_device = [&](const torch::Tensor& x) { return x.to(options.device()); };
  auto second_row = torch::zeros({kB, kH, kT, 1}, torch::kBool);
  second_row.select(2, 1).fill_(true);
  auto first_sentence = torch::zeros({kB, kH, kT, 1}, torch::kBool);
  first_sentence.select(0, 0).fill_(true);
  auto first_row = torch::zeros({kB, kH, kT, 1}, torch::kBool);
  first_row.select(2, 0).fill_(true);
  const auto everything = torch::ones({kB, kH, kT, 1}, torch::kBool);

  auto dense = torch::ones({kT, kS}, torch::kBool);
  dense[1].fill_(false);
  auto bias = torch::randn({1, kH, kT, kS});
  bias.select(2, 1).fill_(-kInf);
  auto padding = torch::ones({kB, kS}, torch::kBool);
  padding[0].fill_(false);
  // Neither part empties a row alone; together they do.
  auto not_first = torch::ones({kT, kS}, torch::kBool);
  not_first.select(1, 0).fill_(false);
  const auto only_first = AttentionMask::key_lengths(on_device(torch::tensor({1, 5})));
  auto first_bias = torch::zeros({kT, kS});
  first_bias.select(1, 0).fill_(-kInf);

  return {
      {"dense bool", on_device(dense), second_row, kS},
      {"dense bool, everything forbidden", on_device(torch::zeros({1, kS}, torch::kBool)),
       everything, kS},
      {"float bias", on_device(bias), second_row, kS},
      {"float bias in the dtype", on_device(bias).to(options), second_row, kS},
      {"key length 0", AttentionMask::key_lengths(on_device(torch::tensor({0, 4}))), first_sentence,
       kS},
      {"padding", AttentionMask::padding(on_device(padding)), first_sentence, kS},
      {"causal, T > S", AttentionMask::causal(), first_row, kT - 1},
      {"lengths and bool", only_first & on_device(not_first), first_sentence, kS},
      {"lengths and bias", only_first & on_device(first_bias), first_sentence, kS},
      {"no key at all", {}, everything, 0},
  };
}

TEST_P(ScaledDotProductOn, AQueryWithoutAKeyGetsZerosOnEveryPath) {
  for (const auto& c : masks_with_empty_rows(options())) {
    for (const bool dropout : {false, true}) {
      for (const int64_t value_size : {kD, kDv}) {
        for (const bool gradients : {false, true}) {
          SCOPED_TRACE(testing::Message() << c.name << ", dropout " << dropout << ", value size "
                                          << value_size << ", gradients " << gradients);
          auto query = query_.clone();
          auto key = randn({kB, kH, c.source, kD}), value = randn({kB, kH, c.source, value_size});
          if (gradients) {
            for (auto* x : {&query, &key, &value}) x->requires_grad_();
          }
          const auto [output, weights] = functional::scaled_dot_product_attention(
              query, key, value, c.mask, WeightsRequest::kPerHead,
              {.dropout_p = dropout ? 0.5 : 0.0, .scale = {}});
          const auto empty = c.empty.to(options().device());
          EXPECT_TRUE(output.isfinite().all().item<bool>());
          EXPECT_TRUE(weights.isfinite().all().item<bool>());
          EXPECT_EQ(output.masked_select(empty).abs().sum().item<double>(), 0.0);
          EXPECT_EQ(weights.masked_select(empty).abs().sum().item<double>(), 0.0);
          // The others are weighted means as ever.
          EXPECT_TENSOR_NEAR(weights.sum(-1, /*keepdim=*/true),
                             empty.logical_not().to(weights.scalar_type()), 1e-5);
          if (!gradients) continue;
          (output.sum() + (weights * weights).sum()).backward();
          expect_finite_gradients({{"query", query}, {"key", key}, {"value", value}});
          EXPECT_EQ(query.grad().masked_select(empty).abs().sum().item<double>(), 0.0);
        }
      }
    }
  }
}

TEST_P(ScaledDotProductOn, ALearnedBiasWithAnEmptyRowHasFiniteGradients) {
  auto forbidden = torch::zeros({kT, kS}, options());
  forbidden[1].fill_(-kInf);
  const auto position_bias = leaf(randn({1, kH, kT, kS}));
  const auto query = leaf(query_), key = leaf(key_), value = leaf(value_);
  const auto [output, weights] = functional::scaled_dot_product_attention(
      query, key, value, AttentionMask(position_bias) & forbidden, WeightsRequest::kPerHead);
  (output.sum() + (weights * weights).sum()).backward();
  expect_finite_gradients(
      {{"query", query}, {"key", key}, {"value", value}, {"bias", position_bias}});
  EXPECT_EQ(output.select(2, 1).abs().sum().item<double>(), 0.0);
  EXPECT_GT(position_bias.grad().select(2, 0).abs().sum().item<double>(), 0.0);
}

TEST_P(ScaledDotProductOn, TheOutputIsTheSameBitsWithAndWithoutARequest) {
  auto masks = masks_with_empty_rows(options());
  masks.pop_back();  // no key at all: nothing to compare
  for (const auto& c : masks) {
    for (const double dropout : {0.0, 0.5}) {
      for (const bool gradients : {false, true}) {
        SCOPED_TRACE(testing::Message() << c.name << ", dropout " << dropout << ", " << gradients);
        const auto query = query_.clone().requires_grad_(gradients);
        const auto key = key_.narrow(2, 0, c.source), value = value_.narrow(2, 0, c.source);
        const auto run = [&](WeightsRequest request) {
          torch::manual_seed(7);
          return functional::scaled_dot_product_attention(query, key, value, c.mask, request,
                                                          {.dropout_p = dropout, .scale = {}});
        };
        const auto alone = run(WeightsRequest::kNone);
        const auto per_head = run(WeightsRequest::kPerHead), mean = run(WeightsRequest::kMean);
        EXPECT_FALSE(alone.weights.defined());
        EXPECT_TENSOR_EQUAL(per_head.output, alone.output);
        EXPECT_TENSOR_EQUAL(mean.output, alone.output);
        EXPECT_TENSOR_NEAR(mean.weights, per_head.weights.mean(1), 1e-6);
      }
    }
  }
}

TEST_P(ScaledDotProductOn, InputWithoutHeadsOrBatchIsTheSameWithThemSqueezed) {
  const auto query = query_.select(1, 0), key = key_.select(1, 0), value = value_.select(1, 0);
  const auto mask = (torch::rand({kT, kS}) < 0.7).to(options().device());
  const auto run = [&](const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v,
                       const AttentionMask& m) {
    return functional::scaled_dot_product_attention(q, k, v, m, WeightsRequest::kPerHead);
  };
  const auto full = run(query.unsqueeze(1), key.unsqueeze(1), value.unsqueeze(1), mask);
  const auto without_heads = run(query, key, value, mask);
  EXPECT_TENSOR_EQUAL(without_heads.output, full.output.squeeze(1));
  EXPECT_TENSOR_EQUAL(without_heads.weights, full.weights.squeeze(1));
  const auto without_batch = run(query[1], key[1], value[1], mask);
  EXPECT_TENSOR_NEAR(without_batch.output, full.output[1][0], tolerance());
  EXPECT_TENSOR_NEAR(without_batch.weights, full.weights[1][0], std::min(tolerance(), 1e-5));
  // [H, T, S] can only mean one thing for input without a batch.
  EXPECT_TENSOR_EQUAL(run(query[1], key[1], value[1], mask.unsqueeze(0)).output,
                      without_batch.output);
}

TEST(ScaledDotProduct, WeightsSumToOneAndAreTakenBeforeDropout) {
  const auto query = doubles({kB, kH, kT, kD}), key = doubles({kB, kH, kS, kD});
  const auto weights = functional::scaled_dot_product_attention(
                           query, key, key, AttentionMask::causal(), WeightsRequest::kPerHead,
                           {.dropout_p = 0.5, .scale = {}})
                           .weights;
  EXPECT_TENSOR_NEAR(weights.sum(-1), torch::ones({kB, kH, kT}, torch::kDouble), 1e-12);
}

TEST(ScaledDotProduct, DropoutScalesWhatItKeeps) {
  const auto query = torch::zeros({1, 1, 1, 2}, torch::kDouble);
  const auto key = torch::zeros({1, 1, 4000, 2}, torch::kDouble);
  const auto value = torch::ones({1, 1, 4000, 2}, torch::kDouble);
  const auto output =
      functional::scaled_dot_product_attention(query, key, value, {}, WeightsRequest::kNone,
                                               {.dropout_p = 0.25, .scale = {}})
          .output;
  EXPECT_NE(output[0][0][0][0].item<double>(), 1.0);
  EXPECT_NEAR(output[0][0][0][0].item<double>(), 1.0, 0.05);
}

TEST(ScaledDotProduct, PermutingKeysWithTheirValuesChangesNothing) {
  const auto query = doubles({kB, kH, kT, kD}), key = doubles({kB, kH, kS, kD});
  const auto value = doubles({kB, kH, kS, kDv});
  const auto order = torch::randperm(kS, torch::kLong);
  const auto permuted = functional::scaled_dot_product_attention(query, key.index_select(2, order),
                                                                 value.index_select(2, order), {},
                                                                 WeightsRequest::kPerHead);
  const auto plain =
      functional::scaled_dot_product_attention(query, key, value, {}, WeightsRequest::kPerHead);
  EXPECT_TENSOR_NEAR(permuted.output, plain.output, 1e-12);
  EXPECT_TENSOR_NEAR(permuted.weights, plain.weights.index_select(3, order), 1e-12);
}

TEST(ScaledDotProduct, PaddedKeysAreAsGoodAsAbsentOnes) {
  const auto query = doubles({kB, kH, kT, kD}), key = doubles({kB, kH, kS, kD});
  const auto padded_key = torch::cat({key, 1e3 * doubles({kB, kH, 2, kD})}, 2);
  const auto lengths = AttentionMask::key_lengths(torch::full({kB}, kS, torch::kLong));
  EXPECT_TENSOR_NEAR(
      functional::scaled_dot_product_attention(query, padded_key, padded_key, lengths).output,
      functional::scaled_dot_product_attention(query, key, key).output, 1e-12);
}

TEST(ScaledDotProduct, ChangingTheFutureLeavesThePastUnchanged) {
  const auto query = doubles({kB, kH, kS, kD}), key = doubles({kB, kH, kS, kD});
  auto changed = key.clone();
  changed.narrow(2, 3, 2).normal_();
  const auto before =
      functional::scaled_dot_product_attention(query, key, key, AttentionMask::causal()).output;
  const auto after =
      functional::scaled_dot_product_attention(query, changed, changed, AttentionMask::causal())
          .output;
  EXPECT_TENSOR_EQUAL(after.narrow(2, 0, 3), before.narrow(2, 0, 3));
  EXPECT_GT((before - after).narrow(2, 3, 2).abs().min().item<double>(), 0.0);
}

TEST(ScaledDotProduct, GradientsMatchDifferences) {
  for (const int64_t value_size : {kD, kDv}) {
    const auto query = leaf(doubles({kB, 2, kT, kD})), key = leaf(doubles({kB, 2, kS, kD}));
    const auto value = leaf(doubles({kB, 2, kS, value_size}));
    const auto bias = leaf(doubles({1, 2, kT, kS}));
    auto allowed = torch::ones({kT, kS}, torch::kBool);
    allowed[2].fill_(false);  // an empty row among others
    allowed[0][1].fill_(false);
    const std::vector<NamedTensor> inputs = {{"query", query}, {"key", key}, {"value", value}};
    auto with_bias = inputs;
    with_bias.push_back({"bias", bias});
    const std::vector<std::pair<AttentionMask, std::vector<NamedTensor>>> cases = {
        {{}, inputs},
        {AttentionMask::causal(), inputs},
        {allowed, inputs},
        {AttentionMask(bias) & allowed, with_bias}};
    for (const auto& [mask, leaves] : cases) {
      const auto attend = [&, &m = mask] {
        return functional::scaled_dot_product_attention(query, key, value, m,
                                                        WeightsRequest::kPerHead);
      };
      expect_gradients_match_differences([&] { return attend().output; }, leaves);
      auto of_weights = leaves;
      of_weights.erase(of_weights.begin() + 2);  // the weights do not depend on the value
      expect_gradients_match_differences([&] { return attend().weights; }, of_weights);
    }
  }
}

TEST(ScaledDotProduct, EmptyBatchesAndTargetsAreTaken) {
  for (const auto& [batch, target] : {std::pair<int64_t, int64_t>{0, kT}, {kB, 0}}) {
    const auto query = leaf(doubles({batch, kH, target, kD}));
    const auto key = leaf(doubles({batch, kH, kS, kD}));
    const auto [output, weights] =
        functional::scaled_dot_product_attention(query, key, key, {}, WeightsRequest::kPerHead);
    EXPECT_EQ(output.sizes(), (std::vector<int64_t>{batch, kH, target, kD}));
    EXPECT_EQ(weights.sizes(), (std::vector<int64_t>{batch, kH, target, kS}));
    (output.sum() + weights.sum()).backward();
    expect_finite_gradients({{"query", query}, {"key", key}});
  }
}

TEST(ScaledDotProduct, WithoutKeysEvenAnInfiniteQueryGetsZeros) {
  const auto query = torch::full({kB, kH, kT, kD}, kInf);
  const auto none = torch::zeros({kB, kH, 0, kD});
  EXPECT_TENSOR_EQUAL(functional::scaled_dot_product_attention(query, none, none).output,
                      torch::zeros({kB, kH, kT, kD}));
}

TEST(ScaledDotProduct, UnderAutocastTheOutputIsBFloat16AndTheWeightsStayFloat32) {
  const auto query = torch::randn({kB, kH, kT, kD}), key = torch::randn({kB, kH, kS, kD});
  const auto plain =
      functional::scaled_dot_product_attention(query, key, key, {}, WeightsRequest::kPerHead);
  const testing_support::CpuAutocast autocast;
  const auto result = functional::scaled_dot_product_attention(query, key, key.to(torch::kBFloat16),
                                                               {}, WeightsRequest::kPerHead);
  EXPECT_EQ(result.output.scalar_type(), torch::kBFloat16);
  EXPECT_TENSOR_NEAR(result.output, plain.output, 4e-2);
  EXPECT_TENSOR_NEAR(result.weights, plain.weights, 1e-6);
}

// Short sequences and long ones, by dtype and by autocast: the exact attention of rounded numbers, rounded.
TEST(ScaledDotProduct, Of16BitsItIsExactButForTheRoundingOfInputsAndOutput) {
  const auto mask = AttentionMask::causal();
  for (const int64_t length : {7, 150}) {
    for (const auto type : {torch::kBFloat16, torch::kHalf}) {
      const double epsilon = type == torch::kHalf ? 0x1p-11 : 0x1p-8;
      std::vector<torch::Tensor> leaves, exact;
      for (int i = 0; i < 3; ++i) {
        leaves.push_back(torch::randn({kB, kH, length, kD}).to(type).requires_grad_());
        exact.push_back(leaves.back().detach().to(torch::kDouble).requires_grad_());
      }
      const auto expected =
          functional::scaled_dot_product_attention(exact[0], exact[1], exact[2], mask).output;
      const auto slope = torch::randn(expected.sizes()).to(type);
      const auto wanted = torch::autograd::grad({expected}, exact, {slope.to(torch::kDouble)});
      for (const bool by_autocast : {false, true}) {
        SCOPED_TRACE(testing::Message() << length << ' ' << type << " autocast " << by_autocast);
        const auto output = [&] {
          std::optional<testing_support::CpuAutocast> autocast;
          if (by_autocast) autocast.emplace(type);
          return functional::scaled_dot_product_attention(leaves[0], leaves[1], leaves[2], mask)
              .output;
        }();
        EXPECT_EQ(output.scalar_type(), type);
        EXPECT_TENSOR_NEAR(output, expected, 4 * epsilon);
        const auto found = torch::autograd::grad({output}, leaves, {slope});
        for (size_t i = 0; i < leaves.size(); ++i) {
          EXPECT_TENSOR_NEAR(found[i], wanted[i],
                             4 * epsilon * wanted[i].abs().max().item<double>());
        }
      }
    }
  }
}

TEST(ExplainAttention, TellsOf16BitsThatAreComputedInFloat32) {
  const auto explain = [](int64_t length, torch::ScalarType type) {
    const auto x = torch::zeros({kB, kH, length, kD}, type);
    return functional::explain_attention(x, x, x, AttentionMask::causal());
  };
  const std::string band = "blockwise kernel, the band as two numbers";
  EXPECT_EQ(explain(3, torch::kFloat), band);
  for (const int64_t length : {3, 300}) {
    for (const auto type : {torch::kBFloat16, torch::kHalf}) {
      EXPECT_EQ(explain(length, type), band + ", in float32");
    }
  }
  const testing_support::CpuAutocast autocast;
  EXPECT_EQ(explain(3, torch::kFloat), band + ", in float32");
  EXPECT_EQ(explain(3, torch::kDouble), band);  // autocast leaves float64 alone
}

TEST(ExplainAttention, NamesThePathAndWhatBecomesOfTheMask) {
  const auto inputs = [](int64_t length) { return torch::zeros({kB, kH, length, 8}); };
  const auto explain = [&](int64_t target, int64_t source, const AttentionMask& mask = {},
                           const functional::AttentionParameters& parameters = {}) {
    return functional::explain_attention(inputs(target), inputs(source), inputs(source), mask,
                                         parameters);
  };
  const auto causal = AttentionMask::causal();
  const auto lengths = AttentionMask::key_lengths(torch::tensor({300, 200}));
  EXPECT_EQ(explain(3, 5), "blockwise kernel");
  EXPECT_EQ(explain(3, 5, causal), "blockwise kernel, the band as two numbers");
  EXPECT_EQ(explain(1, 5, causal), "blockwise kernel");  // the last query sees all
  EXPECT_EQ(explain(3, 5, AttentionMask::window(9, 9)),
            "blockwise kernel");  // no query reaches that far
  EXPECT_EQ(explain(3, 0), "nothing to attend to");
  EXPECT_EQ(explain(300, 300, causal & lengths),
            "blockwise kernel, the band as two numbers, mask [2, 1, 1, 300]");
  EXPECT_EQ(explain(900, 900, AttentionMask::window(9, 0)),
            "blockwise kernel, the band as two numbers");
  EXPECT_EQ(explain(3, 5, AttentionMask::alibi(torch::ones({kH}))),
            fmt::format("blockwise kernel, slopes [{}]", kH));
  EXPECT_EQ(explain(3, 5, AttentionMask::relative_bias(torch::zeros({kH, 7}).requires_grad_())),
            fmt::format("blockwise kernel, relative bias [{}, 7]", kH));
  EXPECT_EQ(explain(300, 300, AttentionMask::segments(torch::zeros({kB, 300}, torch::kInt))),
            fmt::format("blockwise kernel, segments [{}, 300]", kB));
  EXPECT_EQ(explain(3, 5, causal, {.dropout_p = 0.1, .scale = {}, .soft_cap = 2.0}),
            "blockwise kernel, the band as two numbers");
  EXPECT_EQ(explain(3, 5, torch::zeros({3, 5}).requires_grad_()),
            "blockwise kernel, bias [1, 1, 3, 5]");
}

TEST(ScaledDotProduct, SinksOnAnotherDeviceAreRefused) {
  const auto query = torch::randn({2, 3, 4, 5});
  EXPECT_THROW_MESSAGE(
      functional::scaled_dot_product_attention(query, query, query, {}, WeightsRequest::kNone,
                                               {.sinks = torch::zeros({3}, torch::kMeta)}),
      c10::Error,
      "scaled_dot_product_attention: expected sinks on " + query.device().str() +
          " like query, got meta");
}

TEST(ScaledDotProduct, APaddedCausalBatchIsWhatItsDenseMaskSays) {
  constexpr int64_t kSentences = 5, kLength = 515;  // the last two have the same keys
  const auto make = [](int64_t heads) {
    return doubles({kSentences, heads, kLength, kD}).requires_grad_();
  };
  const auto query = make(2), key = make(1), value = make(1);
  const auto causal = oracle::causal(kLength, kLength).view({1, 1, kLength, kLength});
  auto padding = torch::ones({kSentences, kLength}, torch::kBool);
  padding[0].narrow(0, 400, kLength - 400).fill_(false);  // on the right
  padding[1].narrow(0, 0, 7).fill_(false);                // on the left
  padding[2].fill_(false);                                // nothing is left
  auto with_hole = padding.clone();
  with_hole[3][100].fill_(false);
  const auto slope = doubles({kSentences, 2, kLength, kD});
  const auto results = [&](const AttentionMask& mask) {
    const auto [output, weights] = functional::scaled_dot_product_attention(
        query, key, value, mask, WeightsRequest(WeightsRequest::kMean).queries({500}));
    auto all = torch::autograd::grad({output, weights.square().sum()}, {query, key, value},
                                     {slope, torch::ones({}, torch::kDouble)});
    all.push_back(output.detach());
    return all;
  };
  for (const auto& seen : {padding, with_hole}) {
    const auto mask = AttentionMask::causal() & AttentionMask::padding(seen);
    const auto found = results(mask);
    const auto expected = results(causal.logical_and(seen.view({kSentences, 1, 1, kLength})));
    for (size_t i = 0; i < found.size(); ++i) EXPECT_TENSOR_NEAR(found[i], expected[i], 1e-11) << i;
    EXPECT_EQ(found.back()[2].abs().sum().item<double>(), 0.0);
  }
}

TEST(ScaledDotProduct, ErrorsNameWhatWasExpectedAndGot) {
  const auto query = torch::randn({kB, kH, kT, kD}), key = torch::randn({kB, kH, kS, kD});
  const auto attend = [](const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v,
                         double dropout_p = 0.0) {
    return functional::scaled_dot_product_attention(q, k, v, {}, WeightsRequest::kNone,
                                                    {.dropout_p = dropout_p, .scale = {}});
  };
  EXPECT_THROW_MESSAGE(attend({}, key, key), c10::Error,
                       "scaled_dot_product_attention: expected query with 2 to 4 dimensions, got "
                       "an undefined tensor");
  EXPECT_THROW_MESSAGE(attend(query[0][0][0], key, key), c10::Error,
                       "scaled_dot_product_attention: expected query with 2 to 4 dimensions, got "
                       "[6]");
  EXPECT_THROW_MESSAGE(attend(query, key[0], key), c10::Error,
                       "scaled_dot_product_attention: expected key with 4 dimensions, got "
                       "[4, 5, 6]");
  EXPECT_THROW_MESSAGE(attend(query, key, {}), c10::Error,
                       "scaled_dot_product_attention: expected value with 4 dimensions, got an "
                       "undefined tensor");
  EXPECT_THROW_MESSAGE(attend(query, torch::randn({kB, kH, kS, kD + 1}), key), c10::Error,
                       "scaled_dot_product_attention: expected key of shape [2, 4, -1, 6] (-1 = "
                       "any), got [2, 4, 5, 7]");
  EXPECT_THROW_MESSAGE(attend(query, torch::randn({kB, 2, kS, kD}), key), c10::Error,
                       "scaled_dot_product_attention: expected value of shape [2, 2, 5, -1] (-1 = "
                       "any), got [2, 4, 5, 6]");
  EXPECT_THROW_MESSAGE(attend(query, key, query), c10::Error,
                       "scaled_dot_product_attention: expected value of shape [2, 4, 5, -1] (-1 = "
                       "any), got [2, 4, 3, 6]");
  EXPECT_THROW_MESSAGE(attend(query, key.to(torch::kDouble), key), c10::Error,
                       "scaled_dot_product_attention: expected key of dtype Float like query, got "
                       "Double");
  EXPECT_THROW_MESSAGE(attend(query, key, key.to(torch::kMeta)), c10::Error,
                       "scaled_dot_product_attention: expected value on cpu like query, got meta");
  const auto integers = torch::ones({kB, kH, kT, kD}, torch::kLong);
  EXPECT_THROW_MESSAGE(attend(integers, integers, integers), c10::Error,
                       "scaled_dot_product_attention: expected a floating-point query, got dtype "
                       "Long");
  EXPECT_THROW_MESSAGE(attend(query, key, key, 1.0), c10::ValueError,
                       "scaled_dot_product_attention: expected 0 <= dropout_p < 1, got 1");
  EXPECT_THROW_MESSAGE(attend(query, key, key, -0.1), c10::ValueError,
                       "scaled_dot_product_attention: expected 0 <= dropout_p < 1, got -0.1");
  EXPECT_THROW_MESSAGE(attend(query, key, key, std::nan("")), c10::ValueError,
                       "scaled_dot_product_attention: expected 0 <= dropout_p < 1, got nan");
}

// ---- Additive attention ----

TEST(Additive, IsTheWeightedMeanByHand) {
  // Scores 2 tanh(1 + k) with k = -1 and k = atanh(ln(3) / 2) - 1: 0 and ln 3.
  const auto query = torch::ones({1, 1, 1}, torch::kDouble);
  const auto key =
      torch::tensor({-1.0, std::atanh(std::log(3.0) / 2.0) - 1.0}, torch::kDouble).view({1, 2, 1});
  const auto value = torch::tensor({{4.0, 0.0}, {8.0, -4.0}}, torch::kDouble).view({1, 2, 2});
  const auto [output, weights] = functional::additive_attention(
      query, key, torch::full({1}, 2.0, torch::kDouble), value, {}, WeightsRequest::kPerHead);
  EXPECT_TENSOR_NEAR(weights.flatten(), torch::tensor({0.25, 0.75}, torch::kDouble), 1e-15);
  EXPECT_TENSOR_NEAR(output.flatten(), torch::tensor({7.0, -3.0}, torch::kDouble), 1e-14);
}

class AdditiveOn : public DeviceTest {
 protected:
  torch::Tensor query_, key_, scale_vector_, value_;
  void SetUp() override {
    DeviceTest::SetUp();
    if (IsSkipped()) return;
    query_ = randn({kB, kT, kA});
    key_ = randn({kB, kS, kA});
    scale_vector_ = randn({kA});
    value_ = randn({kB, kS, kDv});
  }
};
ATTEND_INSTANTIATE_ON_DEVICES(AdditiveOn);

TEST_P(AdditiveOn, AgreesWithTheOracle) {
  const auto allowed = (torch::rand({kB, 1, kT, kS}) < 0.7).to(options().device());
  const auto bias = randn({kT, kS});
  const std::vector<std::pair<AttentionMask, oracle::Mask>> cases = {
      {{}, {}},
      {AttentionMask::causal(), {oracle::causal(kT, kS), {}}},
      {allowed, {allowed, {}}},
      {AttentionMask(bias) & allowed, {allowed, bias}}};
  for (const auto& [mask, meaning] : cases) {
    const auto expected = oracle::additive_attention(query_, key_, scale_vector_, value_, meaning);
    for (const auto request : {WeightsRequest::kPerHead, WeightsRequest::kMean}) {
      const auto [output, weights] =
          functional::additive_attention(query_, key_, scale_vector_, value_, mask, request);
      EXPECT_TENSOR_NEAR(output, expected.output, tolerance());
      EXPECT_TENSOR_NEAR(weights, expected.weights, tolerance());
      EXPECT_EQ(output.scalar_type(), GetParam().dtype);
      EXPECT_EQ(weights.scalar_type(),
                GetParam().dtype == torch::kDouble ? torch::kDouble : torch::kFloat);
    }
  }
}

TEST_P(AdditiveOn, AQueryWithoutAKeyGetsZerosOnEveryPath) {
  for (const auto& c : masks_with_empty_rows(options())) {
    const auto& biases = c.mask.parts().biases;
    if (!biases.empty() && biases[0].size(1) == kH) continue;  // has no heads
    for (const double dropout : {0.0, 0.5}) {
      SCOPED_TRACE(testing::Message() << c.name << ", dropout " << dropout);
      const auto query = leaf(query_), key = leaf(randn({kB, c.source, kA}));
      const auto vector = leaf(scale_vector_), value = leaf(randn({kB, c.source, kDv}));
      const auto [output, weights] = functional::additive_attention(
          query, key, vector, value, c.mask, WeightsRequest::kPerHead,
          {.dropout_p = dropout, .scale = {}});
      const auto empty = c.empty.select(1, 0).to(options().device());
      EXPECT_TRUE(output.isfinite().all().item<bool>());
      EXPECT_EQ(output.masked_select(empty).abs().sum().item<double>(), 0.0);
      EXPECT_EQ(weights.masked_select(empty).abs().sum().item<double>(), 0.0);
      (output.sum() + (weights * weights).sum()).backward();
      expect_finite_gradients(
          {{"query", query}, {"key", key}, {"scale_vector", vector}, {"value", value}});
    }
  }
}

TEST_P(AdditiveOn, TheOutputIsTheSameBitsWithAndWithoutARequest) {
  for (const double dropout : {0.0, 0.5}) {
    const auto run = [&](WeightsRequest request) {
      torch::manual_seed(7);
      return functional::additive_attention(query_, key_, scale_vector_, value_,
                                            AttentionMask::causal(), request,
                                            {.dropout_p = dropout, .scale = {}});
    };
    const auto alone = run(WeightsRequest::kNone), with = run(WeightsRequest::kPerHead);
    EXPECT_FALSE(alone.weights.defined());
    EXPECT_TENSOR_EQUAL(with.output, alone.output);
    EXPECT_TENSOR_NEAR(with.weights.sum(-1), torch::ones({kB, kT}), 1e-5);
  }
}

TEST(Additive, UnbatchedInputIsTheBatchedOneSqueezed) {
  const auto query = doubles({1, kT, kA}), key = doubles({1, kS, kA}),
             value = doubles({1, kS, kDv});
  const auto vector = doubles({kA});
  const auto mask = torch::rand({kT, kS}) < 0.7;
  const auto full =
      functional::additive_attention(query, key, vector, value, mask, WeightsRequest::kPerHead);
  const auto one = functional::additive_attention(query[0], key[0], vector, value[0], mask,
                                                  WeightsRequest::kPerHead);
  EXPECT_TENSOR_EQUAL(one.output, full.output[0]);
  EXPECT_TENSOR_EQUAL(one.weights, full.weights[0]);
  EXPECT_TENSOR_EQUAL(
      functional::additive_attention(query[0], key[0], vector, value[0], mask.unsqueeze(0)).output,
      full.output[0]);
}

TEST(Additive, TheScaleMultipliesTheScores) {
  const auto query = doubles({kB, kT, kA}), key = doubles({kB, kS, kA}),
             value = doubles({kB, kS, kDv});
  const auto vector = doubles({kA});
  EXPECT_TENSOR_NEAR(
      functional::additive_attention(query, key, vector, value, {}, WeightsRequest::kNone,
                                     {.dropout_p = 0.0, .scale = 0.5})
          .output,
      oracle::additive_attention(query, key, 0.5 * vector, value).output, 1e-12);
}

TEST(Additive, GradientsMatchDifferences) {
  const auto query = leaf(doubles({kB, kT, kA})), key = leaf(doubles({kB, kS, kA}));
  const auto vector = leaf(doubles({kA})), value = leaf(doubles({kB, kS, kDv}));
  auto allowed = torch::ones({kT, kS}, torch::kBool);
  allowed[2].fill_(false);
  const auto attend = [&] {
    return functional::additive_attention(query, key, vector, value, allowed,
                                          WeightsRequest::kPerHead);
  };
  expect_gradients_match_differences(
      [&] { return attend().output; },
      {{"query", query}, {"key", key}, {"scale_vector", vector}, {"value", value}});
  expect_gradients_match_differences([&] { return attend().weights; },
                                     {{"query", query}, {"key", key}, {"scale_vector", vector}});
}

TEST(Additive, UnderAutocastMixedInputsAreTaken) {
  const auto query = torch::randn({kB, kT, kA}), key = torch::randn({kB, kS, kA});
  const auto vector = torch::randn({kA}), value = torch::randn({kB, kS, kDv});
  const auto plain =
      functional::additive_attention(query, key, vector, value, {}, WeightsRequest::kPerHead);
  const testing_support::CpuAutocast autocast;
  const auto half =
      functional::additive_attention(query.to(torch::kBFloat16), key.to(torch::kBFloat16), vector,
                                     value, {}, WeightsRequest::kPerHead);
  EXPECT_TENSOR_NEAR(half.output, plain.output, 1e-1);
  EXPECT_EQ(half.weights.scalar_type(), torch::kFloat);
}

TEST(Additive, ErrorsNameWhatWasExpectedAndGot) {
  const auto query = torch::randn({kB, kT, kA}), key = torch::randn({kB, kS, kA});
  const auto vector = torch::randn({kA}), value = torch::randn({kB, kS, kDv});
  EXPECT_THROW_MESSAGE(functional::additive_attention(query[0][0], key, vector, value), c10::Error,
                       "additive_attention: expected query with 2 to 4 dimensions, got [8]");
  EXPECT_THROW_MESSAGE(functional::additive_attention(query, key[0], vector, value), c10::Error,
                       "additive_attention: expected key with 3 dimensions, got [5, 8]");
  EXPECT_THROW_MESSAGE(functional::additive_attention(query, value, vector, value), c10::Error,
                       "additive_attention: expected key of shape [2, -1, 8] (-1 = any), got "
                       "[2, 5, 7]");
  EXPECT_THROW_MESSAGE(functional::additive_attention(query, key, value[0][0], value), c10::Error,
                       "additive_attention: expected scale_vector of shape [8], got [7]");
  EXPECT_THROW_MESSAGE(functional::additive_attention(query, key, vector, query), c10::Error,
                       "additive_attention: expected value of shape [2, 5, -1] (-1 = any), got "
                       "[2, 3, 8]");
  EXPECT_THROW_MESSAGE(functional::additive_attention(query, key, vector.to(torch::kDouble), value),
                       c10::Error,
                       "additive_attention: expected scale_vector of dtype Float like query, got "
                       "Double");
  EXPECT_THROW_MESSAGE(functional::additive_attention(query, key, vector, value.to(torch::kMeta)),
                       c10::Error,
                       "additive_attention: expected value on cpu like query, got meta");
  const auto integers = [](const torch::Tensor& x) { return x.to(torch::kLong); };
  EXPECT_THROW_MESSAGE(functional::additive_attention(integers(query), integers(key),
                                                      integers(vector), integers(value)),
                       c10::Error,
                       "additive_attention: expected a floating-point query, got dtype Long");
  EXPECT_THROW_MESSAGE(
      functional::additive_attention(query, key, vector, value, {}, WeightsRequest::kNone,
                                     {.dropout_p = 1.5, .scale = {}}),
      c10::ValueError, "additive_attention: expected 0 <= dropout_p < 1, got 1.5");
  EXPECT_THROW_MESSAGE(
      functional::additive_attention(query, key, vector, value,
                                     torch::ones({kB, kT, kS}, torch::kBool)),
      c10::Error,
      "additive_attention: expected a mask [T, S] or [B, H, T, S], got the 3-D shape [2, 3, 5], "
      "which has two readings: write mask.unsqueeze(1) for [B, 1, T, S] or mask.unsqueeze(0) for "
      "[1, H, T, S]");
}

}  // namespace
}  // namespace attend::attention_test
