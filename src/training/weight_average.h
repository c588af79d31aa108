#pragma once

#include <torch/torch.h>

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace attend::detail {

/// The exponential moving average of a module's parameters.
class WeightAverage {
 public:
  /// Each update moves the average by the part `rate` towards the weights.
  WeightAverage(const torch::nn::Module& module, double rate);

  /// Takes in the weights after an update, counted from 1. The first updates count more, so that
  /// the random start is soon forgotten: the rate is at least 9 / (update + 9).
  void update(int64_t update);

  /// Exchanges the average and the module's weights; a second call puts them back.
  void swap();

  std::map<std::string, torch::Tensor> state() const;
  void load_state(const std::map<std::string, torch::Tensor>& state);

 private:
  double rate_;
  std::vector<std::string> names_;
  std::vector<torch::Tensor> weights_, averages_;
};

/// While it lives, the module has the average of its weights; with no average its own.
class AverageScope {
 public:
  explicit AverageScope(std::optional<WeightAverage>& average) : average_(average) {
    if (average_) average_->swap();
  }
  ~AverageScope() {
    if (average_) average_->swap();
  }
  AverageScope(const AverageScope&) = delete;
  AverageScope& operator=(const AverageScope&) = delete;
  AverageScope(AverageScope&&) = delete;
  AverageScope& operator=(AverageScope&&) = delete;

 private:
  std::optional<WeightAverage>& average_;
};

}  // namespace attend::detail
