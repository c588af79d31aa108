#include "attend/decoding/alignment.h"

#include <gtest/gtest.h>

#include "support/tensor_assert.h"

namespace attend::alignment_test {
namespace {

TEST(Alignment, SourceSubwordsAddUpAndTargetSubwordsAreAveraged) {
  // Target words: {0, 1}, {2}; source words: {0}, {1, 2}; the last row and column are the end.
  const auto attention = torch::tensor({{0.5F, 0.2F, 0.2F, 0.1F},
                                        {0.1F, 0.4F, 0.4F, 0.1F},
                                        {0.0F, 0.3F, 0.6F, 0.1F},
                                        {0.7F, 0.1F, 0.1F, 0.1F}});
  const auto merged = merge_subwords(attention, {0, 0, 1, -1}, {0, 1, 1, -1});
  EXPECT_TENSOR_NEAR(merged, torch::tensor({{0.3F, 0.6F}, {0.0F, 0.9F}}), 1e-6);
}

TEST(Alignment, HardLinksAreSortedBySource) {
  const auto links = hard_alignment(torch::tensor({{0.1F, 0.9F}, {0.8F, 0.2F}, {0.4F, 0.6F}}));
  EXPECT_EQ(links, (std::vector<WordLink>{{0, 1}, {1, 0}, {1, 2}}));
  EXPECT_EQ(pharaoh(links), "0-1 1-0 1-2");
  EXPECT_EQ(pharaoh({}), "");
}

TEST(Alignment, NoWordsGiveNoLinks) {
  EXPECT_TRUE(hard_alignment(torch::zeros({3, 0})).empty());
  EXPECT_TRUE(hard_alignment(torch::zeros({0, 3})).empty());
  EXPECT_EQ(merge_subwords(torch::ones({1, 1}), {-1}, {-1}).numel(), 0);
}

TEST(Alignment, SizesThatDoNotFitAreRefused) {
  EXPECT_THROW_MESSAGE(merge_subwords(torch::ones({2, 3}), {0, 0}, {0, 0}), c10::Error,
                       "merge_subwords: expected attention of shape [2, 2], got [2, 3]");
}

}  // namespace
}  // namespace attend::alignment_test
