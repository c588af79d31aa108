#include "attend/functional/feed_forward.h"

#include <gtest/gtest.h>

#include "support/tensor_assert.h"

namespace attend::feed_forward_test {
namespace {

TEST(Activate, ValuesByHand) {
  const auto x = torch::tensor({-1.0, 0.0, 2.0}, torch::kDouble);
  EXPECT_TENSOR_EQUAL(functional::activate(x, Activation::kRelu),
                      torch::tensor({0.0, 0.0, 2.0}, torch::kDouble));
  // x Phi(x) with Phi(-1) = 0.15865525393145705 and Phi(2) = 0.97724986805182079.
  EXPECT_TENSOR_NEAR(functional::activate(x, Activation::kGelu),
                     torch::tensor({-0.15865525393145705, 0.0, 1.9544997361036416}, torch::kDouble),
                     1e-15);
  // x / (1 + exp(-x)).
  EXPECT_TENSOR_NEAR(functional::activate(x, Activation::kSwish),
                     torch::tensor({-0.2689414213699951, 0.0, 1.7615941559557649}, torch::kDouble),
                     1e-15);
}

TEST(FeedForwardFunction, ErrorsNameTheCaller) {
  const torch::nn::Linear fc1(6, 8), fc2(8, 6);
  EXPECT_THROW_MESSAGE(
      functional::feed_forward(torch::zeros({2, 5}), fc1, fc2, Activation::kRelu, 0.0, "MyLayer"),
      c10::Error, "MyLayer: expected an input whose last size is 6, got [2, 5]");
}

}  // namespace
}  // namespace attend::feed_forward_test
