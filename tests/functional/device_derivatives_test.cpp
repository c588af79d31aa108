// Derivatives of attention by a fused kernel of a device that is not the CPU. LibTorch's kernels
// for GPUs have a first one alone; a kernel of the pretend device stands for them.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
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

constexpr int64_t kB = 2, kH = 6, kT = 5, kS = 7, kD = 4;

enum class Masked { kNothing, kCausal, kBool, kLearnedBias };

struct Case {
  const char* name;
  Masked masked;
  double dropout_p = 0.0;
  int64_t kv_heads = kH;
};
std::ostream& operator<<(std::ostream& stream, const Case& c) { return stream << c.name; }

class DeviceDerivatives : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    if (const auto* why = testing_support::missing(torch::kPrivateUse1)) GTEST_SKIP() << why;
    torch::manual_seed(21);
    const auto make = [](at::IntArrayRef sizes) { return torch::randn(sizes, torch::kDouble); };
    const auto source = GetParam().masked == Masked::kCausal ? kT : kS;
    const auto kv_heads = GetParam().kv_heads;
    inputs_ = {make({kB, kH, kT, kD}), make({kB, kv_heads, source, kD}),
               make({kB, kv_heads, source, kD})};
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
    torch::manual_seed(22);
    return functional::scaled_dot_product_attention(x[0], x[1], x[2], mask, WeightsRequest::kNone,
                                                    {.dropout_p = GetParam().dropout_p})
        .output;
  }

  torch::Tensor formula(const variable_list& x, const torch::Tensor& kept) const {
    const auto group = kH / GetParam().kv_heads;
    const auto key = x[1].repeat_interleave(group, 1), value = x[2].repeat_interleave(group, 1);
    auto scores = torch::matmul(x[0], key.transpose(-2, -1)) / std::sqrt(double{kD});
    const auto hide = [&](const torch::Tensor& seen) {
      scores = scores.masked_fill(seen.logical_not(), -std::numeric_limits<double>::infinity());
    };
    if (GetParam().masked == Masked::kCausal) hide(torch::ones({kT, kT}, torch::kBool).tril());
    if (GetParam().masked == Masked::kBool) hide(allowed_);
    if (GetParam().masked == Masked::kLearnedBias) scores = scores + x[3];
    return torch::matmul(torch::softmax(scores, -1) * kept / (1.0 - GetParam().dropout_p), value);
  }

  // Which weights dropout keeps, [B, H, T, S]: values that are columns of the identity give columns
  // of the dropped weights, and every call draws from the same seed.
  torch::Tensor kept() const {
    const auto source = inputs_[2].size(2);
    variable_list columns;
    for (int64_t first = 0; first < source; first += kD) {
      const auto width = std::min(kD, source - first);
      auto x = leaves(torch::kPrivateUse1);
      x[2] = torch::constant_pad_nd(torch::eye(source, torch::kDouble).narrow(1, first, width),
                                    {0, kD - width})
                 .repeat({kB, GetParam().kv_heads, 1, 1})
                 .to(torch::kPrivateUse1);
      columns.push_back(attend(x).detach().cpu().narrow(3, 0, width));
    }
    return torch::cat(columns, 3).ne(0.0);
  }
  torch::Tensor kept_by_kernel() const {
    const PretendFusedAttention kernel;
    return kept();
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
                                         Case{"LearnedBias", Masked::kLearnedBias},
                                         Case{"Dropout", Masked::kNothing, 0.4},
                                         Case{"CausalDropout", Masked::kCausal, 0.4},
                                         Case{"BoolDropout", Masked::kBool, 0.4},
                                         Case{"LearnedBiasDropout", Masked::kLearnedBias, 0.4},
                                         Case{"Groups", Masked::kNothing, 0.0, 2},
                                         Case{"GroupsDropout", Masked::kBool, 0.4, 2}),
                         testing::PrintToStringParamName());

void expect_near(const variable_list& found, const variable_list& wanted) {
  ASSERT_EQ(found.size(), wanted.size());
  for (size_t i = 0; i < found.size(); ++i)
    EXPECT_TENSOR_NEAR(found[i].cpu(), wanted[i], 1e-10) << i;
}

TEST_P(DeviceDerivatives, TheFirstIsTheKernelsOwn) {
  const auto there = leaves(torch::kPrivateUse1), here = leaves(torch::kCPU);
  const auto seen = kept_by_kernel();
  const PretendFusedAttention kernel;
  const auto output = attend(there);
  EXPECT_EQ(kernel.calls(), 1);
  const auto found = torch::autograd::grad({output.square().sum()}, there);
  EXPECT_EQ(kernel.calls(), 2);
  expect_near(found, torch::autograd::grad({formula(here, seen).square().sum()}, here));
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
  const auto seen = kept_by_kernel();
  const PretendFusedAttention kernel;
  const auto found = second(attend(there), there);
  // The output, the way back through it from its square, and what shows the mask of dropout.
  const auto group = kH / GetParam().kv_heads, passes = group * ((kT + kD - 1) / kD);
  EXPECT_EQ(kernel.calls(), GetParam().dropout_p > 0.0 ? 2 + passes : 2);
  expect_near(found, second(formula(here, seen), here));
}

TEST_P(DeviceDerivatives, TangentsOfTheGradientOfTheOutputAreNotLost) {
  const auto there = leaves(torch::kPrivateUse1), here = leaves(torch::kCPU);
  const auto seen = kept_by_kernel();
  const auto slope = torch::randn({kB, kH, kT, kD}, torch::kDouble),
             tangent = torch::randn_like(slope);
  const auto wanted = torch::autograd::grad({formula(here, seen)}, here, {tangent});
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

TEST_P(DeviceDerivatives, TangentsGoForwardByTheFormula) {
  const auto seen = kept();
  const PretendFusedAttention kernel;
  const ForwardMode forward;
  variable_list there, here;
  for (const auto& x : inputs_) {
    const auto tangent = torch::randn_like(x);
    here.push_back(forward.dual(x, tangent));
    there.push_back(forward.dual(x.to(torch::kPrivateUse1), tangent.to(torch::kPrivateUse1)));
  }
  expect_near({forward.tangent(attend(there))}, {forward.tangent(formula(here, seen))});
  EXPECT_EQ(kernel.calls(), 0);
}

TEST_P(DeviceDerivatives, TheSecondWhereValuesNeedNone) {
  auto there = leaves(torch::kPrivateUse1), here = leaves(torch::kCPU);
  there[2] = there[2].detach(), here[2] = here[2].detach();
  const auto seen = kept_by_kernel();
  const auto second = [](const torch::Tensor& output, const torch::Tensor& query) {
    const auto first = torch::autograd::grad({output.square().sum()}, {query}, {}, true,
                                             /*create_graph=*/true)[0];
    return torch::autograd::grad({first.square().sum()}, {query});
  };
  const PretendFusedAttention kernel;
  expect_near(second(attend(there), there[0]), second(formula(here, seen), here[0]));
}

TEST_P(DeviceDerivatives, WithoutAKernelTheyAreThoseOfTheFormula) {
  const auto there = leaves(torch::kPrivateUse1), here = leaves(torch::kCPU);
  const auto seen = kept();
  expect_near(torch::autograd::grad({attend(there).square().sum()}, there),
              torch::autograd::grad({formula(here, seen).square().sum()}, here));
}

TEST(DeviceDerivativesPath, ExplainAttentionNamesTheKernelThatRuns) {
  if (const auto* why = testing_support::missing(torch::kPrivateUse1)) GTEST_SKIP() << why;
  const auto x = torch::zeros({kB, kH, kT, kD}, torch::kPrivateUse1);
  const auto explain = [&] { return functional::explain_attention(x, x, x); };
  EXPECT_EQ(explain(), "LibTorch: math");
  const PretendFusedAttention kernel;
  EXPECT_EQ(explain(), "LibTorch: the device's own kernel");
}

}  // namespace
}  // namespace attend::device_derivatives_test
