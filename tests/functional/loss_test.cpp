#include "attend/functional/loss.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "support/autocast.h"
#include "support/devices.h"
#include "support/instruction_sets.h"
#include "support/module_checks.h"
#include "support/negated.h"
#include "support/peak_memory.h"
#include "support/tensor_assert.h"

namespace attend::loss_test {
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

// The loss on logits that exist a few rows at a time.
struct OutputLayer {
  torch::Tensor hidden, weight, bias, target;
};

OutputLayer output_layer(int64_t rows, int64_t size, int64_t classes,
                         const torch::TensorOptions& options) {
  return {
      torch::randn({rows, size}, options).requires_grad_(),
      torch::randn({classes, size}, options).requires_grad_(),
      torch::randn({classes}, options).requires_grad_(),
      torch::randint(classes, {rows}, torch::TensorOptions(torch::kLong).device(options.device()))};
}

class LinearCrossEntropySumOn : public testing_support::DeviceTest {};
ATTEND_INSTANTIATE_ON_DEVICES(LinearCrossEntropySumOn);

// 70 and 230 rows: fewer and more than are taken at a time for that many classes.
TEST_P(LinearCrossEntropySumOn, IsTheLossOfTheLogitsWithItsGradients) {
  torch::manual_seed(5);
  constexpr int64_t kIgnored = 3;
  for (const auto& [rows, classes] : {std::pair<int64_t, int64_t>{70, 11}, {230, 40'013}}) {
    const auto layer = output_layer(rows, 6, classes, options());
    auto target = layer.target.clone();
    target[5] = kIgnored;
    for (const double smoothing : {0.0, 0.1}) {
      const auto loss = functional::linear_cross_entropy_sum(layer.hidden, layer.weight, layer.bias,
                                                             target, kIgnored, smoothing);
      std::vector<torch::Tensor> exact;
      for (const auto& x : {layer.hidden, layer.weight, layer.bias}) {
        exact.push_back(x.detach().to(torch::kDouble).requires_grad_());
      }
      const auto expected =
          cross_entropy_sum(at::linear(exact[0], exact[1], exact[2]), target, kIgnored, smoothing);
      const double relative =
          (loss.to(torch::kDouble) - expected).abs().item<double>() / expected.item<double>();
      EXPECT_LE(relative, tolerance());
      const auto found =
          torch::autograd::grad({loss * 0.5}, {layer.hidden, layer.weight, layer.bias});
      const auto wanted = torch::autograd::grad({expected * 0.5}, {exact[0], exact[1], exact[2]});
      for (size_t i = 0; i < found.size(); ++i) {
        EXPECT_EQ(found[i].scalar_type(), options().dtype().toScalarType());
        EXPECT_TENSOR_NEAR(found[i], wanted[i],
                           4 * tolerance() * wanted[i].abs().max().item<double>());
      }
    }
  }
}

// The loss and its gradients, and the same by way of all logits.
struct LossAndGradients {
  torch::Tensor loss;
  std::vector<torch::Tensor> gradients;
};

LossAndGradients by_blocks(const OutputLayer& layer, double smoothing) {
  const auto loss = functional::linear_cross_entropy_sum(layer.hidden, layer.weight, layer.bias,
                                                         layer.target, 2, smoothing);
  return {loss, torch::autograd::grad({loss}, {layer.hidden, layer.weight, layer.bias})};
}

LossAndGradients by_all_logits(const OutputLayer& layer, double smoothing) {
  const auto loss = cross_entropy_sum(at::linear(layer.hidden, layer.weight, layer.bias),
                                      layer.target, 2, smoothing);
  return {loss, torch::autograd::grad({loss}, {layer.hidden, layer.weight, layer.bias})};
}

void expect_same(const LossAndGradients& found, const LossAndGradients& expected,
                 double tolerance) {
  EXPECT_NEAR(found.loss.item<double>() / expected.loss.item<double>(), 1.0, tolerance);
  for (size_t i = 0; i < found.gradients.size(); ++i) {
    EXPECT_TENSOR_NEAR(found.gradients[i], expected.gradients[i],
                       tolerance * expected.gradients[i].abs().max().item<double>());
  }
}

// Blocks have 96 rows, tiles 288 words, and vectors pieces of 32 dimensions or fewer.
TEST(LinearCrossEntropySum, SizesAroundThoseOfBlocksAndTilesAgree) {
  torch::manual_seed(7);
  for (const int64_t rows : {1, 95, 96, 97, 193}) {
    for (const int64_t size : {1, 31, 32, 37}) {
      for (const int64_t classes : {3, 287, 288, 289, 581}) {
        SCOPED_TRACE(testing::Message() << rows << " rows, size " << size << ", " << classes);
        const auto layer = output_layer(rows, size, classes, torch::kDouble);
        if (classes == 3) layer.target.fill_(0);  // 2 is ignored
        expect_same(by_blocks(layer, 0.1), by_all_logits(layer, 0.1), 1e-12);
      }
    }
  }
}

TEST(LinearCrossEntropySum, EveryInstructionSetOfThisMachineAgrees) {
  torch::manual_seed(8);
  const auto layer = output_layer(101, 37, 581, torch::kFloat);
  const auto exact = [&] {
    OutputLayer wide = layer;
    for (auto* x : {&wide.hidden, &wide.weight, &wide.bias}) {
      *x = x->detach().to(torch::kDouble).requires_grad_();
    }
    return by_all_logits(wide, 0.1);
  }();
  testing_support::for_each_instruction_set(
      [&] { expect_same(by_blocks(layer, 0.1), exact, 1e-5); });
}

TEST(LinearCrossEntropySum, TheNumberOfThreadsDoesNotChangeABit) {
  torch::manual_seed(9);
  const auto layer = output_layer(230, 37, 2000, torch::kFloat);
  const int threads = torch::get_num_threads();
  torch::set_num_threads(1);
  const auto one = by_blocks(layer, 0.1);
  torch::set_num_threads(3);
  const auto three = by_blocks(layer, 0.1);
  torch::set_num_threads(threads);
  EXPECT_TENSOR_EQUAL(three.loss, one.loss);
  for (size_t i = 0; i < one.gradients.size(); ++i) {
    EXPECT_TENSOR_EQUAL(three.gradients[i], one.gradients[i]);
  }
}

// Scores of 200 and more overflow without their greatest taken off, and a word may be impossible.
TEST(LinearCrossEntropySum, LargeAndImpossibleLogitsAreExact) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const auto layer = output_layer(5, 3, 600, torch::kDouble);
  {
    const torch::NoGradGuard no_grad;
    layer.hidden.mul_(300.0);
    layer.bias.narrow(0, 0, 288).fill_(-kInfinity);  // a whole tile
    layer.target.clamp_min_(300);
  }
  const auto found = by_blocks(layer, 0.0), expected = by_all_logits(layer, 0.0);
  EXPECT_TRUE(std::isfinite(found.loss.item<double>()));
  expect_same(found, expected, 1e-12);
}

TEST(LinearCrossEntropySum, WhatIsNotANumberIsNotHidden) {
  // Word 287 is the last of a tile, 433 one in the middle of the next.
  for (const int64_t word : {287, 433}) {
    for (const double smoothing : {0.0, 0.1}) {
      const auto layer = output_layer(5, 3, 600, torch::kFloat);
      {
        const torch::NoGradGuard no_grad;
        layer.weight[word][1] = std::numeric_limits<float>::quiet_NaN();
      }
      const auto found = by_blocks(layer, smoothing);
      EXPECT_TRUE(std::isnan(found.loss.item<float>()));
      for (const auto& gradient : found.gradients) {
        EXPECT_TRUE(gradient.isnan().any().item<bool>());
      }
    }
  }
}

TEST(LinearCrossEntropySum, WithoutGradientsAndWithoutABiasIsTheSame) {
  const auto layer = output_layer(9, 4, 13, torch::kDouble);
  const auto expected =
      cross_entropy_sum(at::linear(layer.hidden, layer.weight), layer.target, 2, 0.1);
  const auto recorded = functional::linear_cross_entropy_sum(layer.hidden, layer.weight, {},
                                                             layer.target.to(torch::kInt), 2, 0.1);
  EXPECT_NEAR(recorded.item<double>(), expected.item<double>(), 1e-12);
  const torch::InferenceMode inference;
  EXPECT_NEAR(functional::linear_cross_entropy_sum(layer.hidden.view({3, 3, 4}), layer.weight, {},
                                                   layer.target.view({3, 3}), 2, 0.1)
                  .item<double>(),
              expected.item<double>(), 1e-12);
}

TEST(LinearCrossEntropySum, OnlyWhatIsWantedGetsAGradient) {
  auto layer = output_layer(9, 4, 13, torch::kDouble);
  layer.weight.requires_grad_(false);
  functional::linear_cross_entropy_sum(layer.hidden, layer.weight, layer.bias, layer.target, 2)
      .backward();
  EXPECT_TRUE(layer.hidden.grad().defined());
  EXPECT_TRUE(layer.bias.grad().defined());
  EXPECT_FALSE(layer.weight.grad().defined());
}

TEST(LinearCrossEntropySum, GradientsMatchDifferencesAndCanBeDifferentiatedAgain) {
  const auto layer = output_layer(5, 4, 13, torch::kDouble);
  const std::vector<testing_support::NamedTensor> leaves{
      {"hidden", layer.hidden}, {"weight", layer.weight}, {"bias", layer.bias}};
  const auto loss = [&] {
    return functional::linear_cross_entropy_sum(layer.hidden, layer.weight, layer.bias,
                                                layer.target, 2, 0.1);
  };
  testing_support::expect_gradients_match_differences(loss, leaves);
  testing_support::expect_gradients_match_differences(
      [&] {
        const torch::AutoGradMode record(true);
        const auto gradients =
            torch::autograd::grad({loss()}, {layer.hidden, layer.weight, layer.bias}, {}, true,
                                  /*create_graph=*/true);
        return gradients[0].pow(2).sum() + gradients[1].pow(2).sum() + gradients[2].pow(3).sum();
      },
      leaves);
}

TEST(LinearCrossEntropySum, NeverHoldsTheLogits) {
  constexpr int64_t kRows = 4096, kClasses = 30'000;
  const auto layer = output_layer(kRows, 8, kClasses, torch::kFloat);
  testing_support::PeakMemory memory;
  functional::linear_cross_entropy_sum(layer.hidden, layer.weight, layer.bias, layer.target, 2)
      .backward();
  EXPECT_LT(memory.peak(), kRows * kClasses * 4 / 8);
}

TEST(LinearCrossEntropySum, UnderAutocastItIsFloat32sButForRounding) {
  torch::manual_seed(6);
  constexpr int64_t kRows = 230, kClasses = 40'013;
  const auto layer = output_layer(kRows, 6, kClasses, torch::kFloat);
  const std::vector<torch::Tensor> inputs{layer.hidden, layer.weight, layer.bias};
  testing_support::PeakMemory memory;
  const auto loss = [&] {
    const testing_support::CpuAutocast autocast;
    return functional::linear_cross_entropy_sum(layer.hidden, layer.weight, layer.bias,
                                                layer.target, 3, 0.1);
  }();
  const auto found = torch::autograd::grad({loss}, inputs);
  EXPECT_LT(memory.peak(), kRows * kClasses * 8);  // as many numbers in float32 and once more: 12

  std::vector<torch::Tensor> rounded;
  for (const auto& x : inputs) {
    rounded.push_back(x.detach().to(torch::kBFloat16).to(torch::kDouble).requires_grad_());
  }
  const auto expected =
      cross_entropy_sum(at::linear(rounded[0], rounded[1], rounded[2]), layer.target, 3, 0.1);
  const auto wanted = torch::autograd::grad({expected}, rounded);
  EXPECT_EQ(loss.scalar_type(), torch::kFloat);
  constexpr double kEpsilon = 0x1p-8;  // of bfloat16
  EXPECT_NEAR(loss.item<double>() / expected.item<double>(), 1.0, kEpsilon / 4);
  for (size_t i = 0; i < found.size(); ++i) {
    EXPECT_EQ(found[i].scalar_type(), torch::kFloat);
    EXPECT_TENSOR_NEAR(found[i], wanted[i], 4 * kEpsilon * wanted[i].abs().max().item<double>());
  }
}

TEST(LinearCrossEntropySum, NumbersMayBeNegatedWhenTheyAreRead) {
  using testing_support::lazily_negated;
  const auto layer = output_layer(20, 7, 50, torch::kFloat);
  const auto hidden = layer.hidden.detach(), weight = layer.weight.detach(),
             bias = layer.bias.detach();
  EXPECT_TENSOR_EQUAL(
      functional::linear_cross_entropy_sum(lazily_negated(hidden), lazily_negated(weight),
                                           lazily_negated(bias), layer.target, 3),
      functional::linear_cross_entropy_sum(-hidden, -weight, -bias, layer.target, 3));
}

TEST(LinearCrossEntropySum, ErrorsNameWhatWasExpectedAndGot) {
  const auto hidden = torch::zeros({2, 3, 4}), weight = torch::zeros({7, 4});
  const auto target = torch::zeros({2, 3}, torch::kLong);
  EXPECT_THROW_MESSAGE(
      functional::linear_cross_entropy_sum(hidden, torch::zeros({7, 5}), {}, target, 0), c10::Error,
      "linear_cross_entropy_sum: expected weight of shape [-1, 4] (-1 = any), "
      "got [7, 5]");
  EXPECT_THROW_MESSAGE(
      functional::linear_cross_entropy_sum(hidden, weight, torch::zeros({6}), target, 0),
      c10::Error, "linear_cross_entropy_sum: expected bias of shape [7], got [6]");
  EXPECT_THROW_MESSAGE(functional::linear_cross_entropy_sum(hidden, weight, {}, target[0], 0),
                       c10::Error,
                       "linear_cross_entropy_sum: expected target of shape [2, 3], got [3]");
  EXPECT_THROW_MESSAGE(
      functional::linear_cross_entropy_sum(hidden, weight, {}, torch::full({2, 3}, 7), 0),
      c10::IndexError, "linear_cross_entropy_sum: expected targets in [0, 7) or 0, got 7");
}

}  // namespace
}  // namespace attend::loss_test
