#include "attend/modules/positional_encoding.h"

#include <gtest/gtest.h>

#include <limits>

#include "support/devices.h"
#include "support/module_checks.h"
#include "support/tensor_assert.h"

namespace attend::positional_encoding_test {
namespace {

using testing_support::DeviceTest;

constexpr int64_t kB = 2, kT = 3, kE = 6, kMaxLength = 8;

PositionalEncoding encoding(PositionKind kind) {
  return PositionalEncoding(PositionalEncodingOptions(kE, kMaxLength).kind(kind));
}

// The table in float64.
torch::Tensor sinusoids(PositionKind kind) {
  return functional::sinusoidal_positions(
      kMaxLength, kE,
      kind == PositionKind::kSinusoidal ? SinusoidLayout::kInterleaved : SinusoidLayout::kHalves,
      torch::kDouble);
}

constexpr auto kSinusoidalKinds = {PositionKind::kSinusoidal, PositionKind::kSinusoidalHalves};
constexpr auto kAllKinds = {PositionKind::kSinusoidal, PositionKind::kSinusoidalHalves,
                            PositionKind::kLearned};

TEST(PositionalEncoding, AddsTheTableByHand) {
  PositionalEncoding module(PositionalEncodingOptions(2, 2));
  // sin 0, cos 0; sin 1, cos 1.
  EXPECT_TENSOR_NEAR(module(torch::full({1, 2, 2}, 10.0)),
                     torch::tensor({{{10.0, 11.0}, {10.841470984807897, 10.54030230586814}}}),
                     1e-6);
}

class PositionalEncodingOn : public DeviceTest {};
ATTEND_INSTANTIATE_ON_DEVICES(PositionalEncodingOn);

TEST_P(PositionalEncodingOn, AddsTheRowsFromTheOffsetOn) {
  for (const auto kind : kAllKinds) {
    auto module = placed(encoding(kind));
    const auto table = kind == PositionKind::kLearned ? module->weight : sinusoids(kind);
    const auto x = randn({kB, kT, kE});
    for (const int64_t offset : {0, 1, 5}) {
      const auto y = module(x, offset);
      EXPECT_TENSOR_NEAR(y,
                         x.cpu().to(torch::kDouble) +
                             table.detach().cpu().to(torch::kDouble).narrow(0, offset, kT),
                         tolerance());
      EXPECT_EQ(y.scalar_type(), GetParam().dtype);
      EXPECT_TENSOR_EQUAL(module(x[1], offset), y[1]);
    }
  }
}

TEST_P(PositionalEncodingOn, ADerivedTableIsRoundedOnceAfterEveryMove) {
  for (const auto kind : kSinusoidalKinds) {
    const auto expected = sinusoids(kind).to(GetParam().dtype);
    auto module = encoding(kind);
    module->to(torch::kHalf);  // a detour that must not leave its mark
    module->to(GetParam().device, GetParam().dtype);
    EXPECT_TENSOR_EQUAL(module->weight, expected);
    EXPECT_EQ(module->weight.device().type(), GetParam().device);
    // As a part of another module, and by the two other ways to move.
    torch::nn::ModuleList parent(encoding(kind));
    parent->to(torch::kHalf);
    parent->to(GetParam().device);
    parent->to(GetParam().dtype);
    EXPECT_TENSOR_EQUAL(parent->at<PositionalEncodingImpl>(0).weight, expected);
  }
}

TEST(PositionalEncoding, AModuleJustMadeComputesInFloat32) {
  for (const auto kind : kAllKinds) {
    auto module = encoding(kind);
    EXPECT_EQ(module->weight.scalar_type(), torch::kFloat);
    EXPECT_EQ(module(torch::zeros({kT, kE})).scalar_type(), torch::kFloat);
  }
}

TEST(PositionalEncoding, StepsWithAnOffsetAreTheFullPass) {
  for (const auto kind : kAllKinds) {
    auto module = encoding(kind);
    const auto x = torch::randn({kB, kMaxLength, kE});
    const auto full = module(x);
    for (int64_t t = 0; t < kMaxLength; ++t) {
      EXPECT_TENSOR_EQUAL(module(x.narrow(1, t, 1), t), full.narrow(1, t, 1));
    }
  }
}

TEST(PositionalEncoding, OnlyALearnedTableIsAParameterAndIsSaved) {
  for (const auto kind : kSinusoidalKinds) {
    auto module = encoding(kind), loaded = encoding(kind);
    EXPECT_TRUE(module->named_parameters().is_empty());
    EXPECT_TRUE(module->named_buffers().is_empty());
    EXPECT_FALSE(module->weight.requires_grad());
    testing_support::expect_save_load_round_trip(module, loaded);
    EXPECT_TENSOR_EQUAL(loaded->weight, module->weight);
  }
  auto learned = encoding(PositionKind::kLearned), loaded = encoding(PositionKind::kLearned);
  EXPECT_EQ(learned->named_parameters().keys(), (std::vector<std::string>{"weight"}));
  testing_support::expect_save_load_round_trip(learned, loaded);
}

TEST(PositionalEncoding, ALearnedTableIsTrained) {
  auto module = encoding(PositionKind::kLearned);
  module->to(torch::kDouble);
  const auto x = torch::randn({kB, kT, kE}, torch::kDouble).requires_grad_();
  testing_support::expect_gradients_match_differences([&] { return module(x, 2); },
                                                      {{"x", x}, {"weight", module->weight}});
}

TEST(PositionalEncoding, ACloneKeepsDtypeValuesAndMode) {
  for (const auto kind : kAllKinds) {
    for (const auto dtype : {torch::kFloat, torch::kDouble, torch::kBFloat16}) {
      auto module = encoding(kind);
      module->to(dtype);
      module->eval();
      const auto clone = std::dynamic_pointer_cast<PositionalEncodingImpl>(module->clone());
      testing_support::expect_clone_is_equal_and_separate(*module, *clone);
      EXPECT_TENSOR_EQUAL(clone->weight, module->weight);
      const auto x = torch::randn({kB, kT, kE}, torch::kDouble).to(dtype);
      EXPECT_TENSOR_EQUAL(clone->forward(x), module(x));
      // As a part of another module.
      torch::nn::ModuleList parent(module);
      const auto copy = std::dynamic_pointer_cast<torch::nn::ModuleListImpl>(parent->clone());
      EXPECT_TENSOR_EQUAL(copy->at<PositionalEncodingImpl>(0).weight, module->weight);
      EXPECT_TENSOR_EQUAL(copy->at<PositionalEncodingImpl>(0).forward(x), module(x));
    }
  }
}

TEST(PositionalEncoding, MovesToAnotherDeviceByCloning) {
  for (const auto kind : kSinusoidalKinds) {  // Cloneable itself moves the learned one
    auto module = encoding(kind);
    module->to(torch::kDouble);
    const auto clone = std::dynamic_pointer_cast<PositionalEncodingImpl>(
        module->clone(torch::Device(torch::kMeta)));
    EXPECT_TRUE(clone->weight.is_meta());
    EXPECT_EQ(clone->weight.scalar_type(), torch::kDouble);
    EXPECT_FALSE(module->weight.is_meta());
  }
}

TEST(PositionalEncoding, DropoutIsForTrainingOnly) {
  PositionalEncoding module(PositionalEncodingOptions(kE, kMaxLength).dropout(0.5));
  const auto x = torch::ones({kB, kT, kE});
  EXPECT_GT(module(x).eq(0.0).sum().item<int64_t>(), 0);
  module->eval();
  EXPECT_TENSOR_EQUAL(module(x), module(x));
}

TEST(PositionalEncoding, ErrorsNameWhatWasExpectedAndGot) {
  EXPECT_THROW_MESSAGE(PositionalEncoding(0, 8), c10::ValueError,
                       "PositionalEncoding: expected embed_dim > 0, got 0");
  EXPECT_THROW_MESSAGE(PositionalEncoding(6, 0), c10::ValueError,
                       "PositionalEncoding: expected max_length > 0, got 0");
  EXPECT_THROW_MESSAGE(PositionalEncoding(PositionalEncodingOptions(6, 8).dropout(1.0)),
                       c10::ValueError, "PositionalEncoding: expected 0 <= dropout < 1, got 1");
  for (const auto kind : kAllKinds) {
    auto module = encoding(kind);
    EXPECT_THROW_MESSAGE(module(torch::zeros({kB, 9, kE})), c10::ValueError,
                         "PositionalEncoding: expected positions within max_length 8, got 0 + 9");
    EXPECT_THROW_MESSAGE(module(torch::zeros({kB, 3, kE}), 6), c10::ValueError,
                         "PositionalEncoding: expected positions within max_length 8, got 6 + 3");
    EXPECT_THROW_MESSAGE(module(torch::zeros({kB, 3, kE}), -1), c10::ValueError,
                         "PositionalEncoding: expected positions within max_length 8, got -1 + 3");
    constexpr auto kHuge = std::numeric_limits<int64_t>::max();
    EXPECT_THROW_MESSAGE(module(torch::zeros({kB, 3, kE}), kHuge), c10::ValueError,
                         "PositionalEncoding: expected positions within max_length 8, got "
                         "9223372036854775807 + 3");
    EXPECT_THROW_MESSAGE(module(torch::zeros({kB, 3, 4})), c10::Error,
                         "PositionalEncoding: expected x with a last size of 6, got [2, 3, 4]");
    EXPECT_THROW_MESSAGE(module(torch::zeros({kE})), c10::Error,
                         "PositionalEncoding: expected x with 2 to 3 dimensions, got [6]");
    EXPECT_THROW_MESSAGE(module(torch::zeros({3, kE}, torch::kDouble)), c10::Error,
                         "PositionalEncoding: expected x of dtype Float like the weights, got "
                         "Double");
    EXPECT_THROW_MESSAGE(module(torch::zeros({3, kE}, torch::kMeta)), c10::Error,
                         "PositionalEncoding: expected x on cpu like the weights, got meta");
  }
}

}  // namespace
}  // namespace attend::positional_encoding_test
