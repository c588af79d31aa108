#include "attend/data/batches.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "support/tensor_assert.h"

namespace attend::batches_test {
namespace {

// 200 pairs of 2 to 19 tokens.
std::vector<TokenPair> corpus() {
  std::vector<TokenPair> pairs;
  for (size_t i = 0; i < 200; ++i) {
    pairs.push_back({std::vector<int64_t>(2 + i * 7 % 18, static_cast<int64_t>(i)),
                     std::vector<int64_t>(2 + i * 11 % 18, 5)});
  }
  return pairs;
}

std::multiset<size_t> members(const BatchPlan& plan) {
  std::multiset<size_t> all;
  for (const auto& batch : plan) all.insert(batch.begin(), batch.end());
  return all;
}

TEST(Batches, EveryPairIsInExactlyOneBatchOfTheEpoch) {
  const auto pairs = corpus();
  std::multiset<size_t> everyone;
  for (size_t i = 0; i < pairs.size(); ++i) everyone.insert(i);
  EXPECT_EQ(members(plan_batches(pairs, 64, 1, 0)), everyone);
  EXPECT_EQ(members(plan_batches_in_order(pairs, 64)), everyone);
}

TEST(Batches, NoBatchHoldsMoreTokensThanAllowed) {
  const auto pairs = corpus();
  for (const auto& batch : plan_batches(pairs, 64, 1, 3)) {
    size_t longest = 0;
    for (const auto i : batch) {
      longest = std::max({longest, pairs[i].source.size(), pairs[i].target.size()});
    }
    EXPECT_LE(longest * batch.size(), 64U);
  }
  // A pair that is too long by itself is a batch of its own.
  const std::vector<TokenPair> long_pair{{{1, 2, 3, 4, 5, 6}, {1}}, {{1}, {1}}};
  EXPECT_EQ(plan_batches(long_pair, 4, 1, 0).size(), 2U);
}

TEST(Batches, TheOrderIsAFunctionOfSeedAndEpoch) {
  const auto pairs = corpus();
  EXPECT_EQ(plan_batches(pairs, 64, 1, 2), plan_batches(pairs, 64, 1, 2));
  EXPECT_NE(plan_batches(pairs, 64, 1, 2), plan_batches(pairs, 64, 1, 3));
  EXPECT_NE(plan_batches(pairs, 64, 1, 2), plan_batches(pairs, 64, 2, 2));
}

TEST(Batches, TargetsAreShiftedAndPadded) {
  const std::vector<TokenPair> pairs{{{4, 5, 0}, {6, 0}}, {{7, 0}, {8, 9, 0}}};
  const auto batch = make_batch(pairs, {1, 0}, /*start_id=*/3, /*pad_id=*/10);
  EXPECT_TENSOR_EQUAL(batch.source, torch::tensor({{7L, 0L, 10L}, {4L, 5L, 0L}}));
  EXPECT_TENSOR_EQUAL(batch.target_input, torch::tensor({{3L, 8L, 9L}, {3L, 6L, 10L}}));
  EXPECT_TENSOR_EQUAL(batch.target, torch::tensor({{8L, 9L, 0L}, {6L, 0L, 10L}}));
  EXPECT_EQ(batch.source_tokens, 5);
  EXPECT_EQ(batch.target_tokens, 5);
}

TEST(Batches, TheFingerprintTellsCorporaApart) {
  auto pairs = corpus();
  const auto before = fingerprint(pairs);
  EXPECT_EQ(fingerprint(corpus()), before);
  pairs[7].target[0] += 1;
  EXPECT_NE(fingerprint(pairs), before);
  // Tokens that move over the border between the sides.
  EXPECT_NE(fingerprint({{{1, 2}, {3}}}), fingerprint({{{1}, {2, 3}}}));
}

TEST(Batches, TheSizeMustBePositive) {
  EXPECT_THROW_MESSAGE(plan_batches(corpus(), 0, 1, 0), c10::ValueError,
                       "plan_batches: expected max_tokens > 0, got 0");
}

}  // namespace
}  // namespace attend::batches_test
