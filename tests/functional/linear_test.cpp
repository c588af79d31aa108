#include "attend/functional/linear.h"

#include <gtest/gtest.h>
#include <torch/csrc/autograd/forward_grad.h>

#include <cstdlib>
#include <optional>
#include <string>
#include <vector>

#include "attend/modules/basic_attention.h"
#include "support/autocast.h"
#include "support/devices.h"
#include "support/module_checks.h"
#include "support/negated.h"
#include "support/oracle.h"
#include "support/tensor_assert.h"

namespace attend::linear_test {
namespace {

using testing_support::DeviceTest;

TEST(Linear, IsAnAffineMapByHand) {
  const auto weight = torch::tensor({{1.0, 2.0}, {3.0, 4.0}, {0.0, -1.0}});
  const auto bias = torch::tensor({10.0, 20.0, 30.0});
  EXPECT_TENSOR_EQUAL(functional::linear(torch::tensor({1.0, -1.0}), weight, bias),
                      torch::tensor({9.0, 19.0, 31.0}));
  EXPECT_TENSOR_EQUAL(functional::linear(torch::tensor({1.0, -1.0}), weight),
                      torch::tensor({-1.0, -1.0, 1.0}));
}

class LinearOn : public DeviceTest {};
ATTEND_INSTANTIATE_ON_DEVICES(LinearOn);

TEST_P(LinearOn, AgreesWithTheOracleForEveryRank) {
  const auto layer = placed(torch::nn::Linear(5, 3));
  for (const auto& sizes :
       std::vector<std::vector<int64_t>>{{5}, {2, 5}, {2, 4, 5}, {2, 1, 4, 5}}) {
    const auto x = randn(sizes);
    oracle::Weights weights;
    for (const auto& [name, weight] : oracle::weights_of(*layer)) weights["layer." + name] = weight;
    EXPECT_TENSOR_NEAR(functional::linear(x, layer), oracle::linear(x, weights, "layer"),
                       tolerance());
  }
}

TEST(Linear, GradientsMatchDifferences) {
  const auto x = torch::randn({2, 3, 5}, torch::kDouble).requires_grad_();
  const auto weight = torch::randn({4, 5}, torch::kDouble).requires_grad_();
  const auto bias = torch::randn({4}, torch::kDouble).requires_grad_();
  testing_support::expect_gradients_match_differences(
      [&] { return functional::linear(x, weight, bias); },
      {{"x", x}, {"weight", weight}, {"bias", bias}});
}

// Large enough for attend's own product, which CTest also runs this with, where it is not the choice.
TEST(Linear, ManyRowsAgreeWithFloat64UpToSecondDerivatives) {
  torch::manual_seed(5);
  for (const bool has_bias : {false, true}) {
    for (const bool scattered : {false, true}) {
      SCOPED_TRACE(testing::Message() << "bias " << has_bias << ", scattered " << scattered);
      auto x = torch::randn({3, 70, 45}), weight = torch::randn({39, 45});
      if (scattered) {  // neither axis of these is contiguous
        x = torch::randn({70, 3, 90}).transpose(0, 1).slice(2, 0, 90, 2);
        weight = torch::randn({90, 39}).t().slice(1, 0, 90, 2);
      }
      std::vector<torch::Tensor> leaves{x.requires_grad_(), weight.requires_grad_()};
      if (has_bias) leaves.push_back(torch::randn({39}).requires_grad_());
      std::vector<torch::Tensor> exact;
      for (const auto& leaf : leaves) {
        exact.push_back(leaf.detach().to(torch::kDouble).requires_grad_());
      }
      const auto slope = torch::randn({3, 70, 39});
      const auto derivatives = [&](const std::vector<torch::Tensor>& of, const auto& product) {
        const auto y = product(of[0], of[1], has_bias ? of[2] : torch::Tensor());
        // Not linear in y, so that the gradient depends on all of them.
        const auto loss = (y * y * slope.to(y.scalar_type())).sum();
        auto result = torch::autograd::grad({loss}, of, {}, {}, /*create_graph=*/true);
        auto sum = torch::zeros({}, y.options());
        for (const auto& gradient : result) sum = sum + (gradient * gradient).sum();
        for (const auto& second : torch::autograd::grad({sum}, of)) result.push_back(second);
        result.push_back(y);
        return result;
      };
      const auto found = derivatives(leaves, [](const auto& a, const auto& w, const auto& b) {
        return functional::linear(a, w, b);
      });
      const auto wanted = derivatives(exact, [](const auto& a, const auto& w, const auto& b) {
        return b.defined() ? torch::matmul(a, w.t()) + b : torch::matmul(a, w.t());
      });
      for (size_t i = 0; i < found.size(); ++i) {
        const auto size = wanted[i].abs().max().template item<double>();
        EXPECT_TENSOR_NEAR(found[i].detach() / size, wanted[i].detach() / size, 1e-5);
      }
      const torch::NoGradGuard no_grad;
      EXPECT_TENSOR_EQUAL(
          functional::linear(leaves[0], leaves[1], has_bias ? leaves[2] : torch::Tensor()),
          found.back().detach());
    }
  }
}

// Outputs and gradients, in float32, of so many rows.
std::vector<torch::Tensor> output_and_gradients(int64_t rows, const torch::Tensor& weight,
                                                const torch::Tensor& bias,
                                                const torch::Tensor& slope) {
  const auto x = torch::arange(rows * weight.size(1), torch::kFloat).sin();
  const std::vector<torch::Tensor> leaves{
      x.view({rows, weight.size(1)}).to(weight.scalar_type()).requires_grad_(),
      weight.detach().clone().requires_grad_(), bias.detach().clone().requires_grad_()};
  const auto y = weight.scalar_type() == torch::kDouble
                     ? at::linear(leaves[0], leaves[1], leaves[2])
                     : functional::linear(leaves[0], leaves[1], leaves[2]);
  auto result = torch::autograd::grad({y}, leaves, {slope});
  result.push_back(y.detach());
  return result;
}

TEST(Linear, AnyNumberOfRowsAgreesWithFloat64AndThreadsDoNotChangeABit) {
  torch::manual_seed(7);
  const auto weight = torch::randn({530, 391}), bias = torch::randn({530});
  const auto threads = torch::get_num_threads();
  const char* chosen = std::getenv("ATTEND_LINEAR");  // as CTest runs it
  const bool is_attends = chosen != nullptr && std::string(chosen) == "attend";
  for (const int64_t rows : {1, 2, 4, 9, 31, 33, 65, 400}) {
    SCOPED_TRACE(testing::Message() << rows << " rows");
    const auto slope = torch::randn({rows, 530});
    const auto exact = output_and_gradients(rows, weight.to(torch::kDouble),
                                            bias.to(torch::kDouble), slope.to(torch::kDouble));
    const auto found = output_and_gradients(rows, weight, bias, slope);
    for (size_t i = 0; i < found.size(); ++i) {
      const auto size = exact[i].abs().max().item<double>();
      EXPECT_TENSOR_NEAR(found[i] / size, exact[i] / size, 2e-6);
    }
    if (!is_attends || rows == 1) continue;  // LibTorch's products, which promise nothing
    for (const int n : {2, 3, 4}) {
      torch::set_num_threads(n);
      const auto again = output_and_gradients(rows, weight, bias, slope);
      torch::set_num_threads(threads);
      for (const size_t i : {0U, 1U, 3U}) {  // not the sum over rows, which is LibTorch's
        EXPECT_TENSOR_EQUAL(again[i], found[i]);
      }
    }
  }
}

TEST(Linear, ManyRowsGiveTheGradientsThatAreAskedFor) {
  const auto given = [](int i) {
    return i == 0 ? torch::randn({70, 45}) : i == 1 ? torch::randn({39, 45}) : torch::randn({39});
  };
  for (int wanted = 0; wanted < 3; ++wanted) {
    torch::manual_seed(6);
    std::vector<torch::Tensor> inputs{given(0), given(1), given(2)};
    inputs[wanted].requires_grad_();
    const auto y = functional::linear(inputs[0], inputs[1], inputs[2]);
    y.mul_(2.0);  // in place, as after LibTorch's own
    const auto expected = at::linear(inputs[0], inputs[1], inputs[2]) * 2.0;
    EXPECT_TENSOR_NEAR(y, expected, 1e-5);
    EXPECT_TENSOR_NEAR(torch::autograd::grad({y.sum()}, {inputs[wanted]})[0],
                       torch::autograd::grad({expected.sum()}, {inputs[wanted]})[0], 1e-4);
  }
  // A weight that no gradient needs may change before the backward pass.
  auto x = given(0), weight = given(1).requires_grad_();
  const auto y = functional::linear(x, weight);
  {
    const torch::NoGradGuard no_grad;
    weight.zero_();
  }
  EXPECT_TENSOR_NEAR(torch::autograd::grad({y.sum()}, {weight})[0], x.sum(0).expand({39, 45}),
                     1e-4);
}

TEST(Linear, ManyRowsThatAreNegatedWhenTheyAreRead) {
  using testing_support::lazily_negated;
  const auto x = torch::randn({70, 45}), weight = torch::randn({39, 45}), bias = torch::randn({39});
  ASSERT_TRUE(lazily_negated(x).is_neg());
  EXPECT_TENSOR_NEAR(
      functional::linear(lazily_negated(x), lazily_negated(weight), lazily_negated(bias)),
      at::linear(x, weight) - bias, 1e-5);
}

TEST(Linear, ManyRowsCarryATangent) {
  const auto x = torch::randn({70, 45}), tangent = torch::randn({70, 45});
  const auto weight = torch::randn({39, 45});
  const auto level = torch::autograd::ForwardADLevel::get_next_idx();
  const auto y =
      functional::linear(at::_make_dual(x, tangent, static_cast<int64_t>(level)), weight);
  EXPECT_TENSOR_NEAR(y._fw_grad(level), at::linear(tangent, weight), 1e-5);
  torch::autograd::ForwardADLevel::release_idx(level);
}

TEST(Linear, UnderAutocastLibTorchCastsBothSides) {
  const auto x = torch::randn({2, 5}), weight = torch::randn({4, 5});
  const testing_support::CpuAutocast autocast;
  const auto y = functional::linear(x.to(torch::kBFloat16), weight);
  EXPECT_EQ(y.scalar_type(), torch::kBFloat16);
}

// 16 bits: the inputs are rounded, the sums are not, the result is. Few rows and many go different ways.
class LinearOf16Bits : public testing::TestWithParam<torch::ScalarType> {
 protected:
  static constexpr int64_t kIn = 37, kOut = 5;
  double epsilon() const { return GetParam() == torch::kHalf ? 0x1p-11 : 0x1p-8; }  // of a rounding
  bool has_products() const { return functional::has_fast_products(GetParam(), torch::kCPU); }
};
INSTANTIATE_TEST_SUITE_P(Types, LinearOf16Bits, testing::Values(torch::kBFloat16, torch::kHalf),
                         [](const auto& instance) {
                           return std::string(toString(instance.param));
                         });

TEST_P(LinearOf16Bits, IsTheExactProductOfRoundedNumbersButForOneRounding) {
  for (const int64_t rows : {1, 8, 9, 200}) {
    for (const bool by_autocast : {false, true}) {
      SCOPED_TRACE(testing::Message() << rows << " rows, autocast " << by_autocast);
      const auto kept = by_autocast ? torch::kFloat : GetParam();
      const auto leaf = [&](at::IntArrayRef sizes) {
        return torch::randn(sizes).to(kept).requires_grad_();
      };
      const std::vector<torch::Tensor> leaves{leaf({rows, kIn}), leaf({kOut, kIn}), leaf({kOut})};
      const auto y = [&] {
        std::optional<testing_support::CpuAutocast> autocast;
        if (by_autocast) autocast.emplace(GetParam());
        return functional::linear(leaves[0], leaves[1], leaves[2]);
      }();
      std::vector<torch::Tensor> exact;
      for (const auto& x : leaves) {
        exact.push_back(x.detach().to(GetParam()).to(torch::kDouble).requires_grad_());
      }
      const auto expected = at::linear(exact[0], exact[1], exact[2]);
      EXPECT_EQ(y.scalar_type(), GetParam());
      const auto sizes = at::linear(exact[0].abs(), exact[1].abs(), exact[2].abs());
      // One rounding of the result, and what sums of 37 in float32 are off.
      EXPECT_TENSOR_NEAR(
          (y.to(torch::kDouble) - expected) / (expected.abs() * epsilon() + sizes * 4e-6),
          torch::zeros_like(expected), 1.0);
      const auto slope = torch::randn({rows, kOut}).to(GetParam());
      const auto found = torch::autograd::grad({y}, leaves, {slope});
      const auto wanted = torch::autograd::grad({expected}, exact, {slope.to(torch::kDouble)});
      for (size_t i = 0; i < leaves.size(); ++i) {
        EXPECT_EQ(found[i].scalar_type(), kept);
        EXPECT_TENSOR_NEAR(found[i], wanted[i],
                           2 * epsilon() * wanted[i].abs().max().item<double>());
      }
    }
  }
}

TEST_P(LinearOf16Bits, ManyRowsAreMultipliedInFloat32WhereTheProcessorLacksProducts) {
  if (has_products()) GTEST_SKIP() << "this processor multiplies " << toString(GetParam());
  const auto x = torch::randn({64, 512}).to(GetParam());
  const auto weight = torch::randn({48, 512}).to(GetParam());
  EXPECT_TENSOR_EQUAL(functional::linear(x, weight),
                      at::linear(x.to(torch::kFloat), weight.to(torch::kFloat)).to(GetParam()));
}

TEST(HasFastProducts, IsTrueOfWideNumbersAndOfOtherDevices) {
  EXPECT_TRUE(functional::has_fast_products(torch::kFloat, torch::kCPU));
  EXPECT_TRUE(functional::has_fast_products(torch::kDouble, torch::kCPU));
  EXPECT_TRUE(functional::has_fast_products(torch::kBFloat16, torch::kCUDA));
}

TEST(Linear, ErrorsNameTheCallerAndWhatWasExpectedAndGot) {
  const auto x = torch::randn({2, 5}), weight = torch::randn({4, 5});
  EXPECT_THROW_MESSAGE(functional::linear(x, weight.t()), c10::Error,
                       "linear: expected an input whose last size is 4, got [2, 5]");
  BasicAttention attention(BasicAttentionOptions(5, 5, 4));
  EXPECT_THROW_MESSAGE(attention->project_key(x.view({1, 5, 2})), c10::Error,
                       "BasicAttention key: expected an input whose last size is 5, got [1, 5, 2]");
  EXPECT_THROW_MESSAGE(functional::linear({}, weight), c10::Error,
                       "linear: expected an input whose last size is 5, got an undefined tensor");
  EXPECT_THROW_MESSAGE(functional::linear(x, weight[0]), c10::Error,
                       "linear: expected weight of shape [-1, -1] (-1 = any), got [5]");
  EXPECT_THROW_MESSAGE(functional::linear(x, weight, torch::zeros({1})), c10::Error,
                       "linear: expected bias of shape [4], got [1]");
  EXPECT_THROW_MESSAGE(functional::linear(x, weight, torch::zeros({4}, torch::kDouble)), c10::Error,
                       "linear: expected bias of dtype Float like the weight, got Double");
  EXPECT_THROW_MESSAGE(functional::linear(x.to(torch::kDouble), weight), c10::Error,
                       "linear: expected an input of dtype Float like the weight, got Double");
  EXPECT_THROW_MESSAGE(functional::linear(x.to(torch::kMeta), weight), c10::Error,
                       "linear: expected an input on cpu like the weight, got meta");
}

}  // namespace
}  // namespace attend::linear_test
