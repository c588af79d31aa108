#pragma once

// For those who write training loops of their own.

#include <torch/torch.h>

#include <cstdint>
#include <functional>
#include <memory>

#include "attend/toolkit_export.h"

namespace attend {

/// CPU threads that compute the gradients of a batch. Each computes its share of the sentences from
/// the first layer to the last; all read the same weights.
///
/// Threads that share each operation synchronise after each of them, and small operations run on
/// one thread; threads that share the batch synchronise once an update.
///
/// Source: data parallelism as in torch.nn.DataParallel (Li et al., 2020, arXiv:2006.15704, section 2),
///         here over threads that read the same weights.
/// Shapes: a loss is a scalar; gradients have the shapes of the parameters.
/// Note:   The gradients of the shares are added in their order, so the same shares give the same
///         bits. Each thread uses `threads_each` of LibTorch's threads; their number in the calling
///         thread does not change.
class ATTEND_TOOLKIT_API BatchThreads {
 public:
  /// Throws: c10::ValueError unless both numbers are positive.
  BatchThreads(const torch::nn::Module& module, int64_t shares, int64_t threads_each = 1);
  ~BatchThreads();
  BatchThreads(const BatchThreads&) = delete;
  BatchThreads& operator=(const BatchThreads&) = delete;
  BatchThreads(BatchThreads&&) = delete;
  BatchThreads& operator=(BatchThreads&&) = delete;

  int64_t shares() const;

  /// Makes the gradients of the module's parameters those of the sum of the losses, and returns the
  /// sum, detached. `loss(share)`, a scalar or undefined for 0, is called for every share in
  /// [0, shares), on several threads at a time.
  ///
  /// Throws: what the first share that fails throws, once all have ended; gradients stay as they
  ///         were.
  torch::Tensor backward(const std::function<torch::Tensor(int64_t share)>& loss);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace attend
