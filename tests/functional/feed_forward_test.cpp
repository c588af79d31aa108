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

TEST(FeedForwardFunction, WithAGateByHand) {
  const torch::NoGradGuard no_grad;
  const auto one_weight = [](double weight, double bias) {
    torch::nn::Linear layer(1, 1);
    layer->to(torch::kDouble);
    layer->weight.fill_(weight);
    layer->bias.fill_(bias);
    return layer;
  };
  // relu(2 x + 1) * (3 x) * 5 - 1.
  EXPECT_TENSOR_NEAR(
      functional::feed_forward(torch::tensor({{2.0}, {-3.0}}, torch::kDouble), one_weight(3, 0),
                               one_weight(5, -1), one_weight(2, 1), Activation::kRelu),
      torch::tensor({{149.0}, {-1.0}}, torch::kDouble), 1e-12);
}

TEST(FeedForwardFunction, ErrorsNameWhatWasExpectedAndGot) {
  const torch::nn::Linear fc1(6, 8), fc2(8, 6);
  EXPECT_THROW_MESSAGE(
      functional::feed_forward(torch::zeros({2, 5}), fc1, fc2, nullptr, Activation::kRelu),
      c10::Error, "FeedForward: expected an input whose last size is 6, got [2, 5]");
}

}  // namespace
}  // namespace attend::feed_forward_test
