#include "attend/training/optimizer.h"

#include <utility>

#include "detail/named_tensors.h"

namespace attend {

std::vector<NamedParameter> trainable_parameters(const torch::nn::Module& module) {
  std::vector<NamedParameter> parameters;
  for (const auto& item : module.named_parameters()) {
    if (item.value().requires_grad()) parameters.push_back({item.key(), item.value()});
  }
  return parameters;
}

Optimizer::Optimizer(std::vector<NamedParameter> parameters) : parameters_(std::move(parameters)) {}

void Optimizer::zero_grad() {
  for (auto& parameter : parameters_) parameter.tensor.mutable_grad().reset();
}

torch::Tensor Optimizer::clip_gradients(double max_norm) {
  const torch::NoGradGuard no_grad;
  std::vector<torch::Tensor> gradients;
  for (const auto& parameter : parameters_) {
    if (parameter.tensor.grad().defined()) gradients.push_back(parameter.tensor.grad());
  }
  if (gradients.empty()) return torch::zeros({});
  const auto norm = torch::stack(at::_foreach_norm(gradients)).norm();
  if (max_norm > 0.0) {
    at::_foreach_mul_(gradients, (max_norm / (norm + 1e-6)).clamp_max(1.0));
  }
  return norm;
}

void Optimizer::load_state(const std::map<std::string, torch::Tensor>& state) {
  detail::fill_all(this->state(), state, "optimiser", [](const std::string& problems) {
    TORCH_CHECK(false, "Optimizer: expected the state of its parameters, got ", problems);
  });
}

}  // namespace attend
