#include "support/module_checks.h"

#include <cmath>

namespace attend::testing_support {

std::vector<NamedTensor> parameters_of(const torch::nn::Module& module) {
  std::vector<NamedTensor> result;
  for (const auto& parameter : module.named_parameters()) {
    result.push_back({parameter.key(), parameter.value()});
  }
  return result;
}

void expect_gradients_match_differences(const std::function<torch::Tensor()>& function,
                                        const std::vector<NamedTensor>& leaves) {
  constexpr double kStep = 1e-6, kTolerance = 1e-7;
  constexpr int kDirections = 3;
  const auto output = function();
  // Fixed weights that differ everywhere, so that no error cancels out in the sum.
  const auto weights =
      torch::arange(1, output.numel() + 1, torch::kDouble).cos().view(output.sizes());
  const auto loss = [&] { return (function() * weights).sum(); };

  std::vector<torch::Tensor> tensors;
  for (const auto& leaf : leaves) {
    ASSERT_EQ(leaf.tensor.scalar_type(), torch::kDouble) << leaf.name;
    tensors.push_back(leaf.tensor);
  }
  const auto gradients = torch::autograd::grad({(output * weights).sum()}, tensors);
  const torch::NoGradGuard no_grad;
  for (size_t i = 0; i < leaves.size(); ++i) {
    const auto start = tensors[i].clone();
    for (int n = 0; n < kDirections; ++n) {
      const auto direction = torch::randn_like(start);
      tensors[i].copy_(start + kStep * direction);
      const double above = loss().item<double>();
      tensors[i].copy_(start - kStep * direction);
      const double below = loss().item<double>();
      tensors[i].copy_(start);
      const double expected = (above - below) / (2.0 * kStep);
      const double actual = (gradients[i] * direction).sum().item<double>();
      EXPECT_NEAR(actual, expected, kTolerance * std::max(1.0, std::abs(expected)))
          << "the gradient of " << leaves[i].name;
    }
  }
}

void expect_finite_gradients(const std::vector<NamedTensor>& leaves) {
  for (const auto& leaf : leaves) {
    ASSERT_TRUE(leaf.tensor.grad().defined()) << leaf.name;
    EXPECT_TRUE(leaf.tensor.grad().isfinite().all().item<bool>())
        << "the gradient of " << leaf.name << ": " << leaf.tensor.grad();
  }
}

void randomise(torch::nn::Module& module) {
  const torch::NoGradGuard no_grad;
  for (auto& parameter : module.parameters()) {
    parameter.copy_(torch::randn(parameter.sizes(), torch::kDouble) * 0.4);
  }
}

void expect_clone_is_equal_and_separate(const torch::nn::Module& module,
                                        const torch::nn::Module& clone) {
  const auto original = module.named_parameters(), copied = clone.named_parameters();
  ASSERT_EQ(original.keys(), copied.keys());
  for (const auto& parameter : original) {
    SCOPED_TRACE(parameter.key());
    const auto& copy = copied[parameter.key()];
    EXPECT_TENSOR_EQUAL(copy, parameter.value());
    EXPECT_NE(copy.data_ptr(), parameter.value().data_ptr()) << "the clone shares its memory";
  }
  EXPECT_EQ(clone.is_training(), module.is_training());
}

}  // namespace attend::testing_support
