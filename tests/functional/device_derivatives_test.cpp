// Derivatives of attention by a fused kernel of a device that is not the CPU. LibTorch's kernels
// for GPUs have a first one alone; a kernel of the pretend device stands for them.
#include <gtest/gtest.h>

#include <cmath>
#include <optional>
#include <ostream>
#include <vector>

#include "attend/functional/attention.h"
#include "support/devices.h"
#include "support/forward_mode.h"
#include "support/pretend_attention.h"
#include "support/tensor_assert.h"

namespace attend::device_derivatives_test {
namespace {

using testing_support::ForwardMode;
using testing_support::PretendFusedAttention;
using torch::autograd::variable_list;

constexpr int64_t kB = 2, kH = 3, kT = 5, kS = 7, kD = 4;

enum class Masked { kNothing, kCausal, kBool, kLearnedBias };

struct Case {
  const char* name;
  Masked masked;
};
std::ostream& operator<<(std::ostream& stream, const Case& c) { return stream << c.name; }

class DeviceDerivatives : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    if (const auto* why = testing_support::missing(torch::kPrivateUse1)) GTEST_SKIP() << why;
    torch::manual_seed(21);
    const auto make = [](at::IntArrayRef sizes) { return torch::randn(sizes, torch::kDouble); };
    const auto source = GetParam().masked == Masked::kCausal ? kT : kS;
    inputs_ = {make({kB, kH, kT, kD}), make({kB, kH, source, kD}), make({kB, kH, source, kD})};
    if (GetParam().masked == Masked::kLearnedBias) inputs_.push_back(make({1, kH, kT, source}));
    allowed_ = torch::rand({kB, 1, kT, source}) < 0.7;
    allowed_.select(3, 0).fill_(true);
  }

  torch::Tensor attend(const variable_list& x) const {
    const auto mask = [&]() -> AttentionMask {
      switch (GetParam().masked) {
        case Masked::kNothing:
          return {};
        case Masked::kCausal:
          return AttentionMask::causal();
        case Masked::kBool:
          return allowed_.to(x[0].device());
        case Masked::kLearnedBias:
          return x[3];
      }
      return {};
    }();
    return functional::scaled_dot_product_attention(x[0], x[1], x[2], mask).output;
  }

  torch::Tensor formula(const variable_list& x) const {
    auto scores = torch::matmul(x[0], x[1].transpose(-2, -1)) / std::sqrt(double{kD});
    const auto hide = [&](const torch::Tensor& seen) {
      scores = scores.masked_fill(seen.logical_not(), -std::numeric_limits<double>::infinity());
    };
    if (GetParam().masked == Masked::kCausal) hide(torch::ones({kT, kT}, torch::kBool).tril());
    if (GetParam().masked == Masked::kBool) hide(allowed_);
    if (GetParam().masked == Masked::kLearnedBias) scores = scores + x[3];
    return torch::matmul(torch::softmax(scores, -1), x[2]);
  }

  variable_list leaves(torch::Device device) const {
    variable_list result;
    for (const auto& x : inputs_) result.push_back(x.detach().to(device).requires_grad_());
    return result;
  }

  variable_list inputs_;
  torch::Tensor allowed_;
};
INSTANTIATE_TEST_SUITE_P(All, DeviceDerivatives,
                         testing::Values(Case{"NoMask", Masked::kNothing},
                                         Case{"Causal", Masked::kCausal},
                                         Case{"Bool", Masked::kBool},
                                         Case{"LearnedBias", Masked::kLearnedBias}),
                         testing::PrintToStringParamName());

void expect_near(const variable_list& found, const variable_list& wanted) {
  ASSERT_EQ(found.size(), wanted.size());
  for (size_t i = 0; i < found.size(); ++i)
    EXPECT_TENSOR_NEAR(found[i].cpu(), wanted[i], 1e-10) << i;
}

TEST_P(DeviceDerivatives, TheFirstIsTheKernelsOwn) {
  const auto there = leaves(torch::kPrivateUse1), here = leaves(torch::kCPU);
  const PretendFusedAttention kernel;
  const auto output = attend(there);
  EXPECT_EQ(kernel.calls(), 1);
  const auto found = torch::autograd::grad({output.square().sum()}, there);
  EXPECT_EQ(kernel.calls(), 2);
  expect_near(found, torch::autograd::grad({formula(here).square().sum()}, here));
  // What the kernel saved is freed with the graph, as that of every operation.
  EXPECT_THROW(torch::autograd::grad({output.sum()}, there), c10::Error);
}

TEST_P(DeviceDerivatives, TheSecondIsThatOfTheFormula) {
  const auto second = [](const torch::Tensor& output, const variable_list& x) {
    const auto first = torch::autograd::grad({output.square().sum()}, x, {}, true,
                                             /*create_graph=*/true);
    auto sum = torch::zeros({}, output.options());
    for (const auto& gradient : first) sum = sum + gradient.square().sum();
    return torch::autograd::grad({sum}, x);
  };
  const auto there = leaves(torch::kPrivateUse1), here = leaves(torch::kCPU);
  const PretendFusedAttention kernel;
  const auto found = second(attend(there), there);
  EXPECT_EQ(kernel.calls(), 2);  // the output, and the way back through it from its square
  expect_near(found, second(formula(here), here));
}

TEST_P(DeviceDerivatives, TangentsOfTheGradientOfTheOutputAreNotLost) {
  const auto there = leaves(torch::kPrivateUse1), here = leaves(torch::kCPU);
  const auto slope = torch::randn({kB, kH, kT, kD}, torch::kDouble),
             tangent = torch::randn_like(slope);
  const auto wanted = torch::autograd::grad({formula(here)}, here, {tangent});
  const PretendFusedAttention kernel;
  const auto output = attend(there);
  const ForwardMode forward;
  const auto dual = forward.dual(slope.to(torch::kPrivateUse1), tangent.to(torch::kPrivateUse1));
  variable_list found;
  for (const auto& gradient : torch::autograd::grad({output}, there, {dual})) {
    found.push_back(forward.tangent(gradient));
  }
  expect_near(found, wanted);
}

TEST_P(DeviceDerivatives, WithoutAKernelTheyAreThoseOfTheFormula) {
  const auto there = leaves(torch::kPrivateUse1), here = leaves(torch::kCPU);
  expect_near(torch::autograd::grad({attend(there).square().sum()}, there),
              torch::autograd::grad({formula(here).square().sum()}, here));
}

}  // namespace
}  // namespace attend::device_derivatives_test
