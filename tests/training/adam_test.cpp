#include "attend/training/adam.h"

#include <gtest/gtest.h>

#include "support/tensor_assert.h"

namespace attend::adam_test {
namespace {

torch::nn::Linear layer() {
  torch::manual_seed(1);
  torch::nn::Linear linear(3, 2);
  linear->to(torch::kDouble);
  return linear;
}

void backward(torch::nn::Linear linear, double scale) {
  linear->zero_grad();
  (linear->forward(torch::ones({4, 3}, torch::kDouble)).pow(2).sum() * scale).backward();
}

TEST(Adam, AgreesWithTorchsOptimiser) {
  auto ours = layer(), theirs = layer();
  Adam adam(*ours, {.beta1 = 0.8, .beta2 = 0.95, .epsilon = 1e-7, .weight_decay = 0.02});
  torch::optim::AdamW reference(
      theirs->parameters(),
      torch::optim::AdamWOptions(0.05).betas({0.8, 0.95}).eps(1e-7).weight_decay(0.02));
  for (int i = 0; i < 20; ++i) {
    backward(ours, 0.1 * i);
    backward(theirs, 0.1 * i);
    adam.step(0.05);
    reference.step();
    EXPECT_TENSOR_NEAR(ours->weight, theirs->weight, 1e-12);
    EXPECT_TENSOR_NEAR(ours->bias, theirs->bias, 1e-12);
  }
}

TEST(Adam, ClippingScalesToTheJointNorm) {
  auto linear = layer();
  Adam adam(*linear);
  backward(linear, 1.0);
  const auto weight = linear->weight.grad().clone(), bias = linear->bias.grad().clone();
  const double norm = std::sqrt((weight.pow(2).sum() + bias.pow(2).sum()).item<double>());
  EXPECT_NEAR(adam.clip_gradients(0.0).item<double>(), norm, 1e-9);
  EXPECT_TENSOR_EQUAL(linear->weight.grad(), weight);
  adam.clip_gradients(norm / 4);
  EXPECT_TENSOR_NEAR(linear->weight.grad(), weight / 4, 1e-5);
  EXPECT_TENSOR_NEAR(linear->bias.grad(), bias / 4, 1e-5);
}

TEST(Adam, AStateGoesOnWhereItStopped) {
  auto one = layer(), other = layer();
  Adam first(*one), second(*other);
  for (int i = 0; i < 3; ++i) {
    backward(one, 1.0);
    first.step(0.01);
  }
  {
    const torch::NoGradGuard no_grad;
    other->weight.copy_(one->weight);
    other->bias.copy_(one->bias);
  }
  second.load_state(first.state());
  for (auto& linear : {one, other}) backward(linear, 1.0);
  first.step(0.01);
  second.step(0.01);
  EXPECT_TENSOR_EQUAL(other->weight, one->weight);
  auto state = first.state();
  state.erase("mean.weight");
  EXPECT_THROW_MESSAGE(
      second.load_state(state), c10::Error,
      "Optimizer: expected the state of its parameters, got \"mean.weight\" is missing");
}

}  // namespace
}  // namespace attend::adam_test
