#include "training/weight_average.h"

#include <algorithm>

#include "detail/named_tensors.h"

namespace attend::detail {

WeightAverage::WeightAverage(const torch::nn::Module& module, double rate) : rate_(rate) {
  for (const auto& item : module.named_parameters()) {
    names_.push_back(item.key());
    weights_.push_back(item.value().detach());  // shares the parameter's storage
    averages_.push_back(item.value().detach().clone());
  }
}

void WeightAverage::update(int64_t update) {
  const torch::NoGradGuard no_grad;
  const double rate = std::max(rate_, 9.0 / (static_cast<double>(update) + 9.0));
  at::_foreach_lerp_(averages_, weights_, rate);
}

void WeightAverage::swap() {
  const torch::NoGradGuard no_grad;
  for (size_t i = 0; i < weights_.size(); ++i) {
    const auto kept = weights_[i].clone();
    weights_[i].copy_(averages_[i]);
    averages_[i].copy_(kept);
  }
}

std::map<std::string, torch::Tensor> WeightAverage::state() const {
  std::map<std::string, torch::Tensor> state;
  for (size_t i = 0; i < names_.size(); ++i) state[names_[i]] = averages_[i];
  return state;
}

void WeightAverage::load_state(const std::map<std::string, torch::Tensor>& state) {
  fill_all(this->state(), state, "average", [](const std::string& problems) {
    TORCH_CHECK(false, "WeightAverage: expected the averages of its parameters, got ", problems);
  });
}

}  // namespace attend::detail
