#include "attend/modules/feed_forward.h"

#include <gtest/gtest.h>

#include "support/devices.h"
#include "support/module_checks.h"
#include "support/oracle.h"
#include "support/tensor_assert.h"

namespace attend::feed_forward_test {
namespace {

using testing_support::DeviceTest;
using testing_support::parameters_of;
using testing_support::randomise;

constexpr int64_t kB = 2, kT = 3, kE = 6, kF = 8;

const std::vector<std::pair<Activation, oracle::Activation>> kActivations = {
    {Activation::kRelu, oracle::Activation::kRelu},
    {Activation::kGelu, oracle::Activation::kGelu},
    {Activation::kSwish, oracle::Activation::kSwish}};

TEST(FeedForward, ByHand) {
  FeedForward block(1, 2);
  const torch::NoGradGuard no_grad;
  block->fc1->weight.copy_(torch::tensor({{1.0}, {-2.0}}));
  block->fc1->bias.copy_(torch::tensor({1.0, 0.0}));
  block->fc2->weight.copy_(torch::tensor({{3.0, 5.0}}));
  block->fc2->bias.fill_(-1.0);
  // 3 max(0, x + 1) + 5 max(0, -2 x) - 1.
  EXPECT_TENSOR_NEAR(block(torch::tensor({{2.0}, {-3.0}}, torch::kFloat)),
                     torch::tensor({{8.0}, {29.0}}), 1e-6);
}

class FeedForwardOn : public DeviceTest {};
ATTEND_INSTANTIATE_ON_DEVICES(FeedForwardOn);

TEST_P(FeedForwardOn, AgreesWithTheOracle) {
  for (const auto& [activation, meaning] : kActivations) {
    for (const auto& [bias, gated] : {std::pair{true, false}, {false, false}, {true, true}}) {
      auto block = placed(
          FeedForward(FeedForwardOptions(kE, kF).activation(activation).bias(bias).gated(gated)));
      for (const auto& sizes : std::vector<std::vector<int64_t>>{{kE}, {kT, kE}, {kB, kT, kE}}) {
        const auto x = randn(sizes);
        EXPECT_TENSOR_NEAR(block(x), oracle::feed_forward(x, oracle::weights_of(*block), meaning),
                           tolerance());
      }
    }
  }
}

TEST(FeedForward, EveryPositionIsOnItsOwn) {
  FeedForward block(kE, kF);
  const auto x = torch::randn({kB, kT, kE});
  EXPECT_TENSOR_NEAR(block(x).select(1, 1), block(x.select(1, 1)), 1e-6);
}

TEST(FeedForward, GradientsMatchDifferences) {
  for (const auto& [activation, gated] : {std::pair{Activation::kRelu, false},
                                          {Activation::kGelu, false},
                                          {Activation::kSwish, false},
                                          {Activation::kSwish, true}}) {
    FeedForward block(FeedForwardOptions(kE, kF).activation(activation).gated(gated));
    randomise(*block);
    block->to(torch::kDouble);
    const auto x = torch::randn({kB, kT, kE}, torch::kDouble).requires_grad_();
    auto leaves = parameters_of(*block);
    leaves.push_back({"x", x});
    testing_support::expect_gradients_match_differences([&] { return block(x); }, leaves);
  }
}

TEST(FeedForward, DropoutIsForTrainingOnly) {
  FeedForward block(FeedForwardOptions(kE, kF).dropout(0.5));
  const auto x = torch::randn({kB, kT, kE});
  EXPECT_GT((block(x) - block(x)).abs().max().item<double>(), 0.0);
  block->eval();
  EXPECT_TENSOR_EQUAL(block(x), block(x));
}

TEST(FeedForward, ACloneIsEqualAndSeparate) {
  FeedForward block(kE, kF);
  block->to(torch::kDouble);
  block->eval();
  const auto clone = std::dynamic_pointer_cast<FeedForwardImpl>(block->clone());
  testing_support::expect_clone_is_equal_and_separate(*block, *clone);
}

TEST(FeedForward, SavingAndLoadingKeepsEveryWeight) {
  FeedForward saved(kE, kF), loaded(kE, kF);
  testing_support::expect_save_load_round_trip(saved, loaded);
}

TEST(FeedForward, ErrorsNameWhatWasExpectedAndGot) {
  EXPECT_THROW_MESSAGE(FeedForward(0, kF), c10::ValueError,
                       "FeedForward: expected embed_dim > 0, got 0");
  EXPECT_THROW_MESSAGE(FeedForward(kE, -1), c10::ValueError,
                       "FeedForward: expected feed_forward_dim > 0, got -1");
  EXPECT_THROW_MESSAGE(FeedForward(FeedForwardOptions(kE, kF).dropout(1.0)), c10::ValueError,
                       "FeedForward: expected 0 <= dropout < 1, got 1");
  FeedForward block(kE, kF);
  EXPECT_THROW_MESSAGE(block(torch::zeros({kT, kF})), c10::Error,
                       "FeedForward: expected an input whose last size is 6, got [3, 8]");
  EXPECT_THROW_MESSAGE(block(torch::zeros({kT, kE}, torch::kDouble)), c10::Error,
                       "FeedForward: expected an input of dtype Float like the weight, got Double");
}

}  // namespace
}  // namespace attend::feed_forward_test
