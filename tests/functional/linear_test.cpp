#include "attend/functional/linear.h"

#include <gtest/gtest.h>

#include "support/autocast.h"
#include "support/devices.h"
#include "support/module_checks.h"
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

TEST(Linear, UnderAutocastLibTorchCastsBothSides) {
  const auto x = torch::randn({2, 5}), weight = torch::randn({4, 5});
  const testing_support::CpuAutocast autocast;
  const auto y = functional::linear(x.to(torch::kBFloat16), weight);
  EXPECT_EQ(y.scalar_type(), torch::kBFloat16);
}

TEST(Linear, ErrorsNameTheCallerAndWhatWasExpectedAndGot) {
  const auto x = torch::randn({2, 5}), weight = torch::randn({4, 5});
  EXPECT_THROW_MESSAGE(functional::linear(x, weight.t(), {}, "MyModule"), c10::Error,
                       "MyModule: expected an input whose last size is 4, got [2, 5]");
  EXPECT_THROW_MESSAGE(functional::linear({}, weight), c10::Error,
                       "linear: expected an input whose last size is 5, got an undefined tensor");
  EXPECT_THROW_MESSAGE(functional::linear(x, weight[0]), c10::Error,
                       "linear: expected weight of shape [-1, -1] (-1 = any), got [5]");
  EXPECT_THROW_MESSAGE(functional::linear(x, weight, torch::zeros({1})), c10::Error,
                       "linear: expected bias of shape [4], got [1]");
  EXPECT_THROW_MESSAGE(functional::linear(x.to(torch::kDouble), weight), c10::Error,
                       "linear: expected an input of dtype Float like the weight, got Double");
  EXPECT_THROW_MESSAGE(functional::linear(x.to(torch::kMeta), weight), c10::Error,
                       "linear: expected an input on cpu like the weight, got meta");
}

}  // namespace
}  // namespace attend::linear_test
