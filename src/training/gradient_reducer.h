#pragma once

#include <torch/torch.h>

#include <memory>

#include "attend/training/worker_group.h"

namespace attend::detail {

/// Sums the gradients of all processes during the backward pass, in buckets, each sent while earlier
/// layers are still being computed (c10d's Reducer).
///
/// Source: Li et al., 2020, arXiv:2006.15704.
class GradientReducer {
 public:
  /// Gives every process the first one's parameters. Each must have a part in every loss.
  GradientReducer(const WorkerGroup& workers, const torch::nn::Module& module);
  ~GradientReducer();
  GradientReducer(const GradientReducer&) = delete;
  GradientReducer& operator=(const GradientReducer&) = delete;
  GradientReducer(GradientReducer&&) = delete;
  GradientReducer& operator=(GradientReducer&&) = delete;

  /// The gradients of the sum of all processes' losses.
  void backward(const torch::Tensor& loss);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace attend::detail
