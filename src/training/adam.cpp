#include "attend/training/adam.h"

#include "detail/check.h"

namespace attend {

Adam::Adam(const torch::nn::Module& module, const AdamOptions& options) : options_(options) {
  detail::check_probability("Adam", "beta1", options.beta1);
  detail::check_probability("Adam", "beta2", options.beta2);
  TORCH_CHECK_VALUE(options.epsilon > 0.0, "Adam: expected epsilon > 0, got ", options.epsilon);
  TORCH_CHECK_VALUE(options.weight_decay >= 0.0, "Adam: expected weight_decay >= 0, got ",
                    options.weight_decay);
  for (const auto& item : module.named_parameters()) {
    if (!item.value().requires_grad()) continue;
    names_.push_back(item.key());
    parameters_.push_back(item.value());
    means_.push_back(torch::zeros_like(item.value()));
    squares_.push_back(torch::zeros_like(item.value()));
    steps_.push_back(torch::zeros({}, item.value().options().dtype(torch::kFloat)));
  }
}

void Adam::zero_grad() {
  for (auto& parameter : parameters_) parameter.mutable_grad().reset();
}

torch::Tensor Adam::clip_gradients(double max_norm) {
  const torch::NoGradGuard no_grad;
  std::vector<torch::Tensor> gradients;
  for (const auto& parameter : parameters_) {
    if (parameter.grad().defined()) gradients.push_back(parameter.grad());
  }
  if (gradients.empty()) return torch::zeros({});
  const auto norm = torch::stack(at::_foreach_norm(gradients)).norm();
  if (max_norm > 0.0) {
    at::_foreach_mul_(gradients, (max_norm / (norm + 1e-6)).clamp_max(1.0));
  }
  return norm;
}

void Adam::step(double learning_rate, const torch::Tensor& skip) {
  const torch::NoGradGuard no_grad;
  std::vector<torch::Tensor> parameters, gradients, means, squares, steps;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    if (!parameters_[i].grad().defined()) continue;
    parameters.push_back(parameters_[i]);
    gradients.push_back(parameters_[i].grad());
    means.push_back(means_[i]);
    squares.push_back(squares_[i]);
    steps.push_back(steps_[i]);
  }
  if (parameters.empty()) return;
  // As in Python's optimisers, the caller counts the steps: the fused kernel reads them only.
  at::_foreach_add_(steps, 1.0);
  if (skip.defined()) at::_foreach_sub_(steps, std::vector<torch::Tensor>(steps.size(), skip));
  at::_fused_adamw_(parameters, gradients, means, squares, /*max_exp_avg_sqs=*/{}, steps,
                    learning_rate, options_.beta1, options_.beta2, options_.weight_decay,
                    options_.epsilon, /*amsgrad=*/false, /*maximize=*/false,
                    /*grad_scale=*/{},
                    skip.defined() ? std::optional<torch::Tensor>(skip) : std::nullopt);
}

std::map<std::string, torch::Tensor> Adam::state() const {
  std::map<std::string, torch::Tensor> state;
  for (size_t i = 0; i < names_.size(); ++i) {
    state["mean." + names_[i]] = means_[i];
    state["square." + names_[i]] = squares_[i];
    state["step." + names_[i]] = steps_[i];
  }
  return state;
}

void Adam::load_state(const std::map<std::string, torch::Tensor>& state) {
  const auto own = this->state();
  for (const auto& [name, tensor] : own) {
    const auto found = state.find(name);
    TORCH_CHECK(found != state.end(), "Adam: expected the state ", name, ", got none");
    detail::check_shape("Adam", name, found->second, tensor.sizes());
  }
  TORCH_CHECK(state.size() == own.size(), "Adam: expected ", own.size(), " tensors of state, got ",
              state.size());
  for (const auto& [name, tensor] : own) {
    auto destination = tensor;
    destination.copy_(state.at(name));
  }
}

}  // namespace attend
