#include "attend/functional/mask.h"

#include <gtest/gtest.h>

#include <limits>
#include <utility>
#include <vector>

#include "attend/functional/attention.h"
#include "functional/mask_parts.h"
#include "support/oracle.h"
#include "support/tensor_assert.h"

namespace attend::mask_test {
namespace {

constexpr int64_t kB = 2, kH = 4, kT = 3, kS = 5, kD = 6;
constexpr double kInf = std::numeric_limits<double>::infinity();

torch::Tensor bools(const std::vector<std::vector<int>>& rows) {
  std::vector<torch::Tensor> result;
  for (const auto& row : rows) result.push_back(torch::tensor(row));
  return torch::stack(result).to(torch::kBool);
}

// Attention of one set of inputs under a mask, its weights too.
struct Masked : testing::Test {
  torch::Tensor query = torch::randn({kB, kH, kT, kD}, torch::kDouble);
  torch::Tensor key = torch::randn({kB, kH, kS, kD}, torch::kDouble);
  torch::Tensor value = torch::randn({kB, kH, kS, kD}, torch::kDouble);

  AttentionOutput attend(const AttentionMask& mask) const {
    return functional::scaled_dot_product_attention(query, key, value, mask,
                                                    WeightsRequest::kPerHead);
  }
  void expect(const AttentionMask& mask, const oracle::Mask& expected) const {
    const auto [output, weights] = attend(mask);
    const auto reference = oracle::attention(query, key, value, expected);
    EXPECT_TENSOR_NEAR(output, reference.output, 1e-12);
    EXPECT_TENSOR_NEAR(weights, reference.weights, 1e-12);
  }
};

TEST(CausalMask, IsTrueOnAndBelowTheDiagonal) {
  EXPECT_TENSOR_EQUAL(functional::causal_mask(3), bools({{1, 0, 0}, {1, 1, 0}, {1, 1, 1}}));
}

TEST(CausalMask, IsAlignedAtTheBottomRight) {
  EXPECT_TENSOR_EQUAL(functional::causal_mask(2, 4), bools({{1, 1, 1, 0}, {1, 1, 1, 1}}));
  EXPECT_TENSOR_EQUAL(functional::causal_mask(4, 2), bools({{0, 0}, {0, 0}, {1, 0}, {1, 1}}));
}

TEST(CausalMask, TakesEmptySizesAndRefusesNegativeOnes) {
  EXPECT_EQ(functional::causal_mask(0).sizes(), (std::vector<int64_t>{0, 0}));
  EXPECT_EQ(functional::causal_mask(0, 3).sizes(), (std::vector<int64_t>{0, 3}));
  EXPECT_THROW_MESSAGE(functional::causal_mask(-1), c10::ValueError,
                       "causal_mask: expected lengths >= 0, got -1 and -1");
}

TEST(PaddingMask, IsFalseAtThePadId) {
  const auto tokens = torch::tensor({{7, 9, 0}, {0, 4, 0}}, torch::kLong);
  EXPECT_TENSOR_EQUAL(functional::padding_mask(tokens, 0), bools({{1, 1, 0}, {0, 1, 0}}));
  EXPECT_TENSOR_EQUAL(functional::padding_mask(tokens.to(torch::kInt), 4),
                      bools({{1, 1, 1}, {1, 0, 1}}));
  EXPECT_THROW_MESSAGE(functional::padding_mask(tokens.to(torch::kFloat), 0), c10::Error,
                       "padding_mask: expected tokens of dtype Long or Int, got Float");
}

TEST(AttentionMask, NoneIsNone) {
  EXPECT_TRUE(AttentionMask().is_none());
  EXPECT_TRUE(AttentionMask(torch::Tensor()).is_none());
  EXPECT_TRUE((AttentionMask() & torch::Tensor()).is_none());
  EXPECT_FALSE(AttentionMask::causal().is_none());
  EXPECT_FALSE(AttentionMask(bools({{1}})).is_none());
}

TEST_F(Masked, NoMaskAllowsEverything) { expect({}, {}); }

TEST_F(Masked, ADenseBoolMaskMeansMayAttend) {
  const auto allowed = torch::rand({kT, kS}) < 0.6;
  expect(allowed, {allowed, {}});
}

TEST_F(Masked, EveryBroadcastableShapeIsTaken) {
  const std::vector<std::vector<int64_t>> shapes = {
      {kT, kS},         {1, kS},         {kT, 1},         {1, 1},
      {kB, kH, kT, kS}, {1, kH, kT, kS}, {kB, 1, kT, kS}, {kB, 1, 1, kS},
      {kB, kH, kT, 1},  {1, kH, 1, 1},   {1, 1, 1, kS},   {1, 1, 1, 1}};
  for (const auto& shape : shapes) {
    SCOPED_TRACE(testing::PrintToString(shape));
    const auto allowed = torch::rand(shape) < 0.7;
    expect(allowed, {allowed, {}});
    const auto bias = torch::randn(shape, torch::kDouble);
    expect(bias, {{}, bias});
  }
}

TEST_F(Masked, AFloatMaskIsAddedToTheScores) {
  auto bias = torch::randn({kT, kS}, torch::kDouble);
  bias.index_put_({1, 2}, -kInf);
  expect(bias, {{}, bias});
}

TEST_F(Masked, ABiasOfAnotherDtypeIsConverted) {
  const auto bias = torch::randn({kB, 1, kT, kS}, torch::kFloat);
  expect(bias, {{}, bias});
}

TEST_F(Masked, CausalIsAlignedAtTheBottomRight) {
  expect(AttentionMask::causal(), {oracle::causal(kT, kS), {}});
}

TEST_F(Masked, CausalOfMoreQueriesThanKeysLeavesTheFirstOnesEmpty) {
  key = key.narrow(2, 0, 2);
  value = value.narrow(2, 0, 2);
  expect(AttentionMask::causal(), {oracle::causal(kT, 2), {}});
  EXPECT_TENSOR_EQUAL(attend(AttentionMask::causal()).output.select(2, 0),
                      torch::zeros({kB, kH, kD}, torch::kDouble));
}

TEST_F(Masked, CausalOfAsManyQueriesAsKeysIsTheLowerTriangle) {
  query = torch::randn({kB, kH, kS, kD}, torch::kDouble);
  expect(AttentionMask::causal(), {oracle::causal(kS, kS), {}});
}

TEST_F(Masked, ASingleCausalQuerySeesEverything) {
  query = query.narrow(2, 0, 1);
  expect(AttentionMask::causal(), {});
}

TEST_F(Masked, KeyLengthsHideWhatComesAfterThem) {
  for (const auto dtype : {torch::kLong, torch::kInt}) {
    auto allowed = torch::zeros({kB, 1, 1, kS}, torch::kBool);
    allowed[0].narrow(-1, 0, 2).fill_(true);
    allowed[1].fill_(true);
    expect(AttentionMask::key_lengths(torch::tensor({2, 5}, dtype)), {allowed, {}});
  }
}

TEST_F(Masked, PaddingIsPerSentence) {
  const auto may_attend = torch::rand({kB, kS}) < 0.6;
  expect(AttentionMask::padding(may_attend), {may_attend.view({kB, 1, 1, kS}), {}});
}

// Of T queries and S keys that end together: [H, T + S - 1], value n of distance n - (S - 1).
torch::Tensor for_each_pair(const torch::Tensor& relative_bias, int64_t target, int64_t source) {
  const auto place = torch::arange(source) - torch::arange(target).unsqueeze(1) + target - 1;
  return relative_bias.index_select(1, place.flatten()).view({1, -1, target, source});
}

TEST_F(Masked, ARelativeBiasGoesByTheDistanceOfTheKeyFromTheQuery) {
  // Three queries at the places 2, 3 and 4 of five keys.
  const auto bias = torch::randn({kH, kT + kS - 1}, torch::kDouble);
  auto expected = torch::empty({1, kH, kT, kS}, torch::kDouble);
  for (int64_t t = 0; t < kT; ++t) {
    for (int64_t s = 0; s < kS; ++s) {
      const auto ahead = s - (t + kS - kT);
      expected.select(2, t).select(2, s).copy_(bias.select(1, ahead + kS - 1).unsqueeze(0));
    }
  }
  expect(AttentionMask::relative_bias(bias), {{}, expected});
  EXPECT_TENSOR_EQUAL(expected, for_each_pair(bias, kT, kS));
  // In another dtype, forbidding what lies two places back, and twice.
  auto forbids = bias.to(torch::kFloat);
  forbids.select(1, kS - 3).fill_(-kInf);
  expect(AttentionMask::relative_bias(forbids), {{}, for_each_pair(forbids, kT, kS)});
  expect(AttentionMask::relative_bias(bias) & AttentionMask::relative_bias(bias * 2),
         {{}, expected * 3});
}

TEST_F(Masked, ARelativeBiasOfOneQueryOrOneKeyOrNone) {
  for (const auto& [target, source] :
       std::vector<std::pair<int64_t, int64_t>>{{1, kS}, {kT, 1}, {1, 1}, {6, 2}}) {
    SCOPED_TRACE(testing::Message() << "T " << target << ", S " << source);
    query = torch::randn({kB, kH, target, kD}, torch::kDouble);
    key = torch::randn({kB, kH, source, kD}, torch::kDouble);
    value = torch::randn({kB, kH, source, kD}, torch::kDouble);
    const auto bias = torch::randn({kH, target + source - 1}, torch::kDouble);
    expect(AttentionMask::relative_bias(bias), {{}, for_each_pair(bias, target, source)});
  }
  const auto none = key.narrow(2, 0, 0);
  const auto mask = AttentionMask::relative_bias(torch::zeros({kH, 5}, torch::kDouble));
  EXPECT_TENSOR_EQUAL(functional::scaled_dot_product_attention(query, none, none, mask).output,
                      torch::zeros_like(query));
}

TEST_F(Masked, ARelativeBiasThatDoesNotFitIsRefused) {
  EXPECT_THROW_MESSAGE(AttentionMask::relative_bias(torch::zeros({kH})), c10::Error,
                       "AttentionMask::relative_bias: expected bias with 2 dimensions, got [4]");
  EXPECT_THROW_MESSAGE(
      AttentionMask::relative_bias(torch::zeros({kH, 7}, torch::kLong)), c10::Error,
      "AttentionMask::relative_bias: expected a floating-point bias, got dtype Long");
  EXPECT_THROW_MESSAGE(
      attend(AttentionMask::relative_bias(torch::zeros({kH, 8}))), c10::Error,
      "scaled_dot_product_attention: expected relative bias of shape [4, 7], got [4, 8]");
  const auto at = AttentionMask::positions(torch::arange(kT), torch::arange(kS));
  EXPECT_THROW_MESSAGE(attend(at & AttentionMask::relative_bias(torch::zeros({kH, 7}))), c10::Error,
                       "scaled_dot_product_attention: expected no positions beside a relative "
                       "bias, whose values are those of queries and keys that end together");
}

// Every subset of the six kinds, joined in both orders, against the dense mask that says the same.
TEST_F(Masked, PartsJoinedWithAndAreTheDenseMaskThatSaysTheSame) {
  for (const int64_t target : {int64_t{1}, kT, kS, kS + 2}) {
    query = torch::randn({kB, kH, target, kD}, torch::kDouble);
    const auto lengths = torch::tensor({3, 5});
    const auto padding = torch::rand({kB, kS}) < 0.7;
    const auto allowed = torch::rand({kB, 1, target, kS}) < 0.7;
    const auto bias = torch::randn({1, kH, target, kS}, torch::kDouble);
    const auto within = torch::arange(kS).view({1, 1, 1, kS}) < lengths.view({kB, 1, 1, 1});
    const auto by_distance = torch::randn({kH, target + kS - 1}, torch::kDouble);
    for (int set = 0; set < 64; ++set) {
      SCOPED_TRACE(testing::Message() << "T " << target << ", parts " << set);
      const std::vector<std::pair<AttentionMask, oracle::Mask>> parts = {
          {AttentionMask::causal(), {oracle::causal(target, kS), {}}},
          {AttentionMask::key_lengths(lengths), {within, {}}},
          {AttentionMask::padding(padding), {padding.view({kB, 1, 1, kS}), {}}},
          {allowed, {allowed, {}}},
          {bias, {{}, bias}},
          {AttentionMask::relative_bias(by_distance),
           {{}, for_each_pair(by_distance, target, kS)}}};
      AttentionMask forward, backward;
      oracle::Mask dense{torch::ones({kB, kH, target, kS}, torch::kBool), {}};
      for (size_t i = 0; i < parts.size(); ++i) {
        if ((set >> i & 1) == 0) continue;
        const auto& [mask, meaning] = parts[i];
        forward = forward & mask;
        backward = mask & backward;
        if (meaning.allowed.defined()) dense.allowed = dense.allowed.logical_and(meaning.allowed);
        if (!meaning.bias.defined()) continue;
        dense.bias = dense.bias.defined() ? dense.bias + meaning.bias : meaning.bias;
      }
      expect(forward, dense);
      expect(backward, dense);
    }
  }
}

TEST_F(Masked, PositionsSayWhereQueriesAndKeysStand) {
  // Keys in another order, with an empty slot between them.
  const auto keys = torch::tensor({3, -1, 0, 4, 1}), queries = torch::tensor({1, 4, 2});
  const auto at = AttentionMask::positions(queries, keys);
  expect(at, {bools({{1, 0, 1, 1, 1}, {1, 0, 1, 1, 1}, {1, 0, 1, 1, 1}}), {}});
  expect(at & AttentionMask::causal(),
         {bools({{0, 0, 1, 0, 1}, {1, 0, 1, 1, 1}, {0, 0, 1, 0, 1}}), {}});
  expect(AttentionMask::window(1, 1) & at,
         {bools({{0, 0, 1, 0, 1}, {1, 0, 0, 1, 0}, {1, 0, 0, 0, 1}}), {}});
  const auto slopes = torch::tensor({0.5, 0.25, 2.0, 1.0}, torch::kDouble);
  const auto distance = (queries.unsqueeze(1) - keys).abs().to(torch::kDouble);
  expect(at & AttentionMask::alibi(slopes),
         {bools({{1, 0, 1, 1, 1}, {1, 0, 1, 1, 1}, {1, 0, 1, 1, 1}}),
          -slopes.view({1, kH, 1, 1}) * distance});
}

TEST_F(Masked, PositionsMayBeOthersInEachSentence) {
  const auto keys = torch::tensor({{3, -1, 0, 4, 1}, {0, 1, 2, -1, -1}});
  const auto queries = torch::tensor({{1, 4, 2}, {2, 0, 1}});
  const auto allowed = [](const std::vector<std::vector<int>>& first,
                          const std::vector<std::vector<int>>& second) {
    return torch::stack({bools(first), bools(second)}).unsqueeze(1);
  };
  const auto slopes = torch::tensor({0.5, 0.25, 2.0, 1.0}, torch::kDouble);
  const auto mask = AttentionMask::causal() & AttentionMask::alibi(slopes);
  const auto distance = (queries.unsqueeze(2) - keys.unsqueeze(1)).abs().to(torch::kDouble);
  const auto bias = -slopes.view({1, kH, 1, 1}) * distance.unsqueeze(1);
  expect(AttentionMask::positions(queries, keys) & mask,
         {allowed({{0, 0, 1, 0, 1}, {1, 0, 1, 1, 1}, {0, 0, 1, 0, 1}},
                  {{1, 1, 1, 0, 0}, {1, 0, 0, 0, 0}, {1, 1, 0, 0, 0}}),
          bias});
  // Those of one side may be shared.
  const auto shared = (queries[0].unsqueeze(1) - keys.unsqueeze(1)).abs().to(torch::kDouble);
  expect(AttentionMask::positions(queries[0], keys) & mask,
         {allowed({{0, 0, 1, 0, 1}, {1, 0, 1, 1, 1}, {0, 0, 1, 0, 1}},
                  {{1, 1, 0, 0, 0}, {1, 1, 1, 0, 0}, {1, 1, 1, 0, 0}}),
          -slopes.view({1, kH, 1, 1}) * shared.unsqueeze(1)});
}

TEST_F(Masked, PositionsThatDoNotFitAreRefused) {
  const auto three = torch::arange(3), five = torch::arange(5);
  EXPECT_THROW_MESSAGE(
      attend(AttentionMask::positions(five, five)), c10::Error,
      "scaled_dot_product_attention: expected query positions of shape [3], got [5]");
  EXPECT_THROW_MESSAGE(
      attend(AttentionMask::positions(three, three)), c10::Error,
      "scaled_dot_product_attention: expected key positions of shape [5], got [3]");
  EXPECT_THROW_MESSAGE(
      AttentionMask::positions(three, five) & AttentionMask::positions(three, five), c10::Error,
      "AttentionMask: expected positions in one of two joined masks, got them in both");
  EXPECT_THROW_MESSAGE(AttentionMask::positions(three.to(torch::kFloat), five), c10::Error,
                       "AttentionMask::positions: expected query of dtype Long or Int, got Float");
  EXPECT_THROW_MESSAGE(
      attend(AttentionMask::positions(three, five.expand({3, 5}))), c10::Error,
      "scaled_dot_product_attention: expected key positions of shape [2, 5], got [3, 5]");
  EXPECT_THROW_MESSAGE(
      AttentionMask::positions(three, five.expand({1, 2, 5})), c10::Error,
      "AttentionMask::positions: expected key with 1 to 2 dimensions, got [1, 2, 5]");
}

// Seven queries over three keys end together: query 0 stands four places before key 0.
TEST(SlidingWindow, OneThatEndsBeforeTheFirstKeyIsRefused) {
  const auto query = torch::randn({kB, kH, 7, kD}), key = torch::randn({kB, kH, 3, kD});
  const auto attend = [&](const AttentionMask& mask) {
    return functional::scaled_dot_product_attention(query, key, key, mask).output;
  };
  EXPECT_THROW_MESSAGE(
      attend(AttentionMask::window(9, 3)), c10::ValueError,
      "scaled_dot_product_attention: expected a window that holds a key for each query (they end "
      "together, so that query 0 sees the keys up to S - T + right), got 7 queries, 3 keys and "
      "right "
      "3; where they stand elsewhere, say so with AttentionMask::positions");
  EXPECT_THROW(attend(AttentionMask::causal() & AttentionMask::window(9, 9)), c10::ValueError);
  // Reaching one key further is enough, and so is saying where they stand.
  EXPECT_TENSOR_NEAR(attend(AttentionMask::window(9, 4)),
                     attend(functional::window_mask(7, 3, 9, 4, query.device())), 1e-6);
  const auto stands = AttentionMask::positions(torch::arange(7), torch::arange(3));
  const auto near = (torch::arange(3) - torch::arange(7).unsqueeze(1)).abs() <= 1;
  EXPECT_TENSOR_NEAR(attend(AttentionMask::window(1, 1) & stands), attend(near), 1e-6);
}

TEST_F(Masked, SeveralPartsOfOneKindAllCount) {
  const auto a = torch::rand({kT, kS}) < 0.8, b = torch::rand({kB, 1, 1, kS}) < 0.8;
  expect(AttentionMask(a) & b, {a.logical_and(b), {}});
  const auto x = torch::randn({kT, kS}, torch::kDouble), y = torch::randn({kB, 1, 1, kS});
  expect(AttentionMask(x) & y, {{}, x + y});
  expect(AttentionMask::key_lengths(torch::tensor({3, 5})) &
             AttentionMask::key_lengths(torch::tensor({4, 1})),
         {torch::arange(kS).view({1, 1, 1, kS}) < torch::tensor({3, 1}).view({kB, 1, 1, 1}), {}});
  EXPECT_EQ((AttentionMask::causal() & AttentionMask::causal()).parts().band.right, 0);
}

TEST_F(Masked, JoiningLeavesTheOperandsAsTheyWere) {
  const auto causal = AttentionMask::causal();
  const AttentionMask dense = bools({{1, 1, 1, 1, 0}});
  const auto both = causal & dense;
  EXPECT_TRUE(causal.parts().allowed.empty());
  EXPECT_TRUE(dense.parts().band.is_everything());
  EXPECT_EQ(both.parts().allowed.size(), 1u);
}

TEST_F(Masked, ABareThreeDimensionalMaskIsRefusedWithItsTwoReadings) {
  const auto mask = torch::ones({kB, kT, kS}, torch::kBool);
  const char* message =
      "scaled_dot_product_attention: expected a mask [T, S] or [B, H, T, S], got the 3-D shape "
      "[2, 3, 5], which has two readings: write mask.unsqueeze(1) for [B, 1, T, S] or "
      "mask.unsqueeze(0) for [1, H, T, S]";
  EXPECT_THROW_MESSAGE(attend(mask), c10::Error, message);
  EXPECT_THROW_MESSAGE(attend(mask.to(torch::kDouble)), c10::Error, message);
  EXPECT_THROW_MESSAGE(attend(AttentionMask::causal() & mask), c10::Error, message);
}

TEST_F(Masked, AMaskThatDoesNotFitIsRefusedWithBothShapes) {
  EXPECT_THROW_MESSAGE(attend(torch::ones({kT, kS + 1}, torch::kBool)), c10::Error,
                       "scaled_dot_product_attention: expected mask to broadcast to [2, 4, 3, 5], "
                       "got [3, 6]");
  EXPECT_THROW_MESSAGE(attend(torch::zeros({kB + 1, 1, kT, kS})), c10::Error,
                       "scaled_dot_product_attention: expected mask to broadcast to [2, 4, 3, 5], "
                       "got [3, 1, 3, 5]");
  EXPECT_THROW_MESSAGE(attend(AttentionMask::padding(torch::ones({kB, kT}, torch::kBool))),
                       c10::Error,
                       "scaled_dot_product_attention: expected padding mask of shape [2, 5], got "
                       "[2, 3]");
  EXPECT_THROW_MESSAGE(attend(AttentionMask::key_lengths(torch::tensor({1, 2, 3}))), c10::Error,
                       "scaled_dot_product_attention: expected key lengths of shape [2], got [3]");
  EXPECT_THROW_MESSAGE(attend(AttentionMask::key_lengths(torch::tensor({1, 6}))), c10::Error,
                       "scaled_dot_product_attention: expected key lengths in [0, 5], got 1 to 6");
  EXPECT_THROW_MESSAGE(attend(AttentionMask::key_lengths(torch::tensor({-1, 2}))), c10::Error,
                       "scaled_dot_product_attention: expected key lengths in [0, 5], got -1 to 2");
}

TEST_F(Masked, AMaskOnAnotherDeviceIsRefused) {
  const auto on_meta = [](at::IntArrayRef sizes, torch::Dtype dtype) {
    return torch::empty(sizes, torch::TensorOptions(torch::kMeta).dtype(dtype));
  };
  const char* message = "scaled_dot_product_attention: expected mask on cpu like query, got meta";
  EXPECT_THROW_MESSAGE(attend(on_meta({kT, kS}, torch::kBool)), c10::Error, message);
  EXPECT_THROW_MESSAGE(attend(on_meta({kT, kS}, torch::kFloat)), c10::Error, message);
  EXPECT_THROW_MESSAGE(attend(AttentionMask::key_lengths(on_meta({kB}, torch::kLong))), c10::Error,
                       message);
  EXPECT_THROW_MESSAGE(attend(AttentionMask::padding(on_meta({kB, kS}, torch::kBool))), c10::Error,
                       message);
}

TEST(AttentionMask, RanksAndDtypesWithoutAMeaningAreRefused) {
  EXPECT_THROW_MESSAGE(AttentionMask(torch::ones({5}, torch::kBool)), c10::Error,
                       "AttentionMask: expected a mask with 2 to 4 dimensions, got [5]");
  EXPECT_THROW_MESSAGE(
      AttentionMask(torch::ones({1, 1, 1, 3, 5}, torch::kBool)), c10::Error,
      "AttentionMask: expected a mask with 2 to 4 dimensions, got [1, 1, 1, 3, 5]");
  EXPECT_THROW_MESSAGE(
      AttentionMask(torch::ones({3, 5}, torch::kLong)), c10::Error,
      "AttentionMask: expected a bool mask (true = may attend) or a floating-point "
      "bias, got dtype Long");
  EXPECT_THROW_MESSAGE(AttentionMask::padding(torch::ones({2, 5})), c10::Error,
                       "AttentionMask::padding: expected may_attend of dtype Bool (true = may "
                       "attend), got Float");
  EXPECT_THROW_MESSAGE(AttentionMask::padding(torch::ones({5}, torch::kBool)), c10::Error,
                       "AttentionMask::padding: expected may_attend with 2 dimensions, got [5]");
  EXPECT_THROW_MESSAGE(AttentionMask::padding({}), c10::Error,
                       "AttentionMask::padding: expected may_attend with 2 dimensions, got an "
                       "undefined tensor");
  EXPECT_THROW_MESSAGE(AttentionMask::key_lengths(torch::ones({2})), c10::Error,
                       "AttentionMask::key_lengths: expected lengths of dtype Long or Int, got "
                       "Float");
  EXPECT_THROW_MESSAGE(
      AttentionMask::key_lengths(torch::ones({2, 1}, torch::kLong)), c10::Error,
      "AttentionMask::key_lengths: expected lengths with 1 dimensions, got [2, 1]");
}

TEST_F(Masked, TorchsBoolMaskIsTurnedRound) {
  const auto ignore = torch::rand({kT, kS}) < 0.4;
  expect(functional::mask_from_torch(ignore), {ignore.logical_not(), {}});
  const auto bias = torch::randn({kT, kS}, torch::kDouble);
  expect(functional::mask_from_torch(bias), {{}, bias});
  EXPECT_TRUE(functional::mask_from_torch({}).is_none());
}

TEST_F(Masked, TorchsMaskPerHeadIsUnfolded) {
  const auto ignore = torch::rand({kB * kH, kT, kS}) < 0.4;
  expect(functional::mask_from_torch(ignore, kH),
         {ignore.logical_not().view({kB, kH, kT, kS}), {}});
  EXPECT_THROW_MESSAGE(functional::mask_from_torch(ignore, 3), c10::Error,
                       "mask_from_torch: expected attn_mask of shape [B * num_heads, T, S] with "
                       "num_heads 3, got [8, 3, 5]");
  EXPECT_THROW_MESSAGE(functional::mask_from_torch(ignore, 0), c10::ValueError,
                       "mask_from_torch: expected num_heads > 0, got 0");
  EXPECT_THROW_MESSAGE(functional::mask_from_torch(ignore[0][0]), c10::Error,
                       "mask_from_torch: expected attn_mask with 2 to 3 dimensions, got [5]");
}

TEST_F(Masked, TorchsKeyPaddingMaskIsTurnedRound) {
  const auto ignore = torch::rand({kB, kS}) < 0.4;
  expect(functional::padding_from_torch(ignore), {ignore.logical_not().view({kB, 1, 1, kS}), {}});
  EXPECT_TRUE(functional::padding_from_torch({}).is_none());
  EXPECT_THROW_MESSAGE(functional::padding_from_torch(ignore.to(torch::kFloat)), c10::Error,
                       "padding_from_torch: expected key_padding_mask of dtype Bool (true = "
                       "ignore), got Float");
}

}  // namespace
}  // namespace attend::mask_test
