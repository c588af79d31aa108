#include "attend/training/adam.h"

#include <utility>

#include "detail/check.h"

namespace attend {

Adam::Adam(const torch::nn::Module& module, const AdamOptions& options)
    : Adam(trainable_parameters(module), options) {}

Adam::Adam(std::vector<NamedParameter> given, const AdamOptions& options)
    : Optimizer(std::move(given)), options_(options) {
  detail::check_probability("Adam", "beta1", options.beta1);
  detail::check_probability("Adam", "beta2", options.beta2);
  TORCH_CHECK_VALUE(options.epsilon > 0.0, "Adam: expected epsilon > 0, got ", options.epsilon);
  TORCH_CHECK_VALUE(options.weight_decay >= 0.0, "Adam: expected weight_decay >= 0, got ",
                    options.weight_decay);
  for (const auto& parameter : parameters()) {
    const auto& tensor = parameter.tensor;
    means_.push_back(torch::zeros_like(tensor));
    squares_.push_back(torch::zeros_like(tensor));
    steps_.push_back(torch::zeros({}, tensor.options().dtype(torch::kFloat)));
  }
}

void Adam::step(double learning_rate, const torch::Tensor& skip) {
  const torch::NoGradGuard no_grad;
  std::vector<torch::Tensor> tensors, gradients, means, squares, steps;
  for (size_t i = 0; i < parameters().size(); ++i) {
    const auto& tensor = parameters()[i].tensor;
    if (!tensor.grad().defined()) continue;
    tensors.push_back(tensor);
    gradients.push_back(tensor.grad());
    means.push_back(means_[i]);
    squares.push_back(squares_[i]);
    steps.push_back(steps_[i]);
  }
  if (tensors.empty()) return;
  // As in Python's optimisers, the caller counts the steps: the fused kernel reads them only.
  at::_foreach_add_(steps, 1.0);
  if (skip.defined()) at::_foreach_sub_(steps, std::vector<torch::Tensor>(steps.size(), skip));
  at::_fused_adamw_(tensors, gradients, means, squares, /*max_exp_avg_sqs=*/{}, steps,
                    learning_rate, options_.beta1, options_.beta2, options_.weight_decay,
                    options_.epsilon, /*amsgrad=*/false, /*maximize=*/false,
                    /*grad_scale=*/{},
                    skip.defined() ? std::optional<torch::Tensor>(skip) : std::nullopt);
}

std::map<std::string, torch::Tensor> Adam::state() const {
  std::map<std::string, torch::Tensor> state;
  for (size_t i = 0; i < parameters().size(); ++i) {
    const auto& name = parameters()[i].name;
    state["mean." + name] = means_[i];
    state["square." + name] = squares_[i];
    state["step." + name] = steps_[i];
  }
  return state;
}

}  // namespace attend
