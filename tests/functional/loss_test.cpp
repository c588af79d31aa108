#include "attend/functional/loss.h"

#include <gtest/gtest.h>

#include <cmath>

#include "support/module_checks.h"
#include "support/tensor_assert.h"

namespace attend {
namespace {

using functional::cross_entropy_sum;

TEST(CrossEntropySum, IsMinusLogPByHand) {
  // p = 1/4, 3/4 for the first token; the second one is padding.
  const auto logits = torch::tensor({{0.0, std::log(3.0)}, {5.0, 6.0}}, torch::kDouble);
  const auto target = torch::tensor({0, 1}, torch::kLong);
  EXPECT_NEAR(cross_entropy_sum(logits, target, /*ignore_id=*/1).item<double>(), std::log(4.0),
              1e-15);
  // Smoothed by 0.1: 0.9 * -log(1/4) + 0.05 * (-log(1/4) - log(3/4)).
  EXPECT_NEAR(cross_entropy_sum(logits, target, 1, 0.1).item<double>(),
              0.95 * std::log(4.0) + 0.05 * std::log(4.0 / 3.0), 1e-15);
}

TEST(CrossEntropySum, IsTheFormulaForEveryRankAndIgnoresPadding) {
  constexpr int64_t kVocabulary = 7, kPad = 2;
  for (const auto& sizes : std::vector<std::vector<int64_t>>{{}, {5}, {2, 5}, {2, 3, 5}}) {
    auto logit_sizes = sizes;
    logit_sizes.push_back(kVocabulary);
    const auto logits = torch::randn(logit_sizes, torch::kDouble);
    const auto target = torch::randint(kVocabulary, sizes, torch::kLong);
    const auto flat_logits = logits.reshape({-1, kVocabulary});
    const auto flat_target = target.reshape({-1});
    double expected = 0.0;
    for (int64_t n = 0; n < flat_target.size(0); ++n) {
      const auto y = flat_target[n].item<int64_t>();
      if (y == kPad) continue;
      double sum = 0.0;
      for (int64_t v = 0; v < kVocabulary; ++v) sum += std::exp(flat_logits[n][v].item<double>());
      for (int64_t v = 0; v < kVocabulary; ++v) {
        const double cost = std::log(sum) - flat_logits[n][v].item<double>();
        expected += cost * ((v == y ? 0.9 : 0.0) + 0.1 / kVocabulary);
      }
    }
    EXPECT_NEAR(cross_entropy_sum(logits, target, kPad, 0.1).item<double>(), expected, 1e-12);
    EXPECT_NEAR(cross_entropy_sum(logits, target.to(torch::kInt), kPad, 0.1).item<double>(),
                expected, 1e-12);
  }
}

TEST(CrossEntropySum, OfPaddingAloneIsZeroWithZeroGradients) {
  const auto logits = torch::randn({2, 3, 7}).requires_grad_();
  const auto loss = cross_entropy_sum(logits, torch::zeros({2, 3}, torch::kLong), 0, 0.1);
  EXPECT_EQ(loss.item<double>(), 0.0);
  loss.backward();
  EXPECT_TENSOR_EQUAL(logits.grad(), torch::zeros({2, 3, 7}));
}

TEST(CrossEntropySum, GradientsMatchDifferences) {
  const auto logits = torch::randn({2, 3, 7}, torch::kDouble).requires_grad_();
  const auto target = torch::randint(7, {2, 3}, torch::kLong);
  testing_support::expect_gradients_match_differences(
      [&] { return cross_entropy_sum(logits, target, 0, 0.1); }, {{"logits", logits}});
}

TEST(CrossEntropySum, ErrorsNameWhatWasExpectedAndGot) {
  const auto logits = torch::zeros({2, 3, 7});
  const auto target = torch::zeros({2, 3}, torch::kLong);
  EXPECT_THROW_MESSAGE(cross_entropy_sum(logits, target[0], 0), c10::Error,
                       "cross_entropy_sum: expected target of shape [2, 3], got [3]");
  EXPECT_THROW_MESSAGE(cross_entropy_sum(logits, torch::zeros({2, 3}), 0), c10::Error,
                       "cross_entropy_sum: expected target of dtype Long or Int, got Float");
  EXPECT_THROW_MESSAGE(
      cross_entropy_sum({}, target, 0), c10::Error,
      "cross_entropy_sum: expected logits with 1 to 4 dimensions, got an undefined "
      "tensor");
  EXPECT_THROW_MESSAGE(cross_entropy_sum(logits, target, 0, 1.0), c10::ValueError,
                       "cross_entropy_sum: expected 0 <= label_smoothing < 1, got 1");
}

}  // namespace
}  // namespace attend
