#include "attend/functional/heads.h"

#include <gtest/gtest.h>

#include "support/tensor_assert.h"

namespace attend::heads_test {
namespace {

using functional::merge_heads;
using functional::split_heads;

TEST(SplitHeads, PutsConsecutiveFeaturesIntoOneHead) {
  const auto x = torch::arange(2 * 3 * 8).view({2, 3, 8});
  const auto heads = split_heads(x, 4);
  ASSERT_EQ(heads.sizes(), (std::vector<int64_t>{2, 4, 3, 2}));
  for (int64_t h = 0; h < 4; ++h) {
    EXPECT_TENSOR_EQUAL(heads.select(1, h), x.narrow(2, 2 * h, 2));
  }
}

TEST(SplitHeads, IsAView) {
  const auto x = torch::zeros({2, 3, 8});
  split_heads(x, 4).fill_(1.0);
  EXPECT_TENSOR_EQUAL(x, torch::ones({2, 3, 8}));
}

TEST(MergeHeads, IsTheInverseOfSplitHeads) {
  const auto x = torch::randn({2, 3, 8});
  EXPECT_TENSOR_EQUAL(merge_heads(split_heads(x, 4)), x);
  const auto strided = torch::randn({3, 2, 16}).transpose(0, 1).slice(2, 0, 16, 2);
  EXPECT_TENSOR_EQUAL(merge_heads(split_heads(strided, 2)), strided);
}

TEST(SplitHeads, ErrorsNameWhatWasExpectedAndGot) {
  EXPECT_THROW_MESSAGE(split_heads(torch::zeros({2, 3, 8}), 3), c10::Error,
                       "split_heads: expected a last size divisible by num_heads 3, got [2, 3, 8]");
  EXPECT_THROW_MESSAGE(split_heads(torch::zeros({2, 3, 8}), 0), c10::ValueError,
                       "split_heads: expected num_heads > 0, got 0");
  EXPECT_THROW_MESSAGE(split_heads(torch::zeros({3, 8}), 2), c10::Error,
                       "split_heads: expected x of shape [-1, -1, -1] (-1 = any), got [3, 8]");
  EXPECT_THROW_MESSAGE(merge_heads(torch::zeros({3, 8, 2})), c10::Error,
                       "merge_heads: expected x of shape [-1, -1, -1, -1] (-1 = any), got "
                       "[3, 8, 2]");
}

}  // namespace
}  // namespace attend::heads_test
