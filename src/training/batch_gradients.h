#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <optional>

#include "attend/training/batch_threads.h"
#include "attend/training/training_options.h"
#include "attend/training/training_task.h"
#include "training/batch_loader.h"
#include "training/gradient_reducer.h"

namespace attend::detail {

/// The gradients of a batch, computed by threads or by processes that share it. Touches the
/// gradients of the module's parameters.
class BatchGradients {
 public:
  /// Gives every process the first one's parameters. The task must outlive this.
  BatchGradients(TrainingTask& task, const TrainingOptions& options, torch::Device device,
                 const WorkerGroup& workers);

  /// Makes the gradients those of the batch's mean loss, and returns the sum of this share's loss,
  /// detached. update: the number of those before, which seeds the random numbers.
  torch::Tensor backward(const BatchShare& share, int64_t update);

 private:
  torch::Tensor mean_loss(const BatchShare& share, size_t part);

  TrainingTask* task_;
  Precision precision_;
  uint64_t seed_;
  torch::Device device_;
  int64_t rank_;
  std::optional<GradientReducer> reducer_;
  std::optional<BatchThreads> threads_;
};

/// The threads that compute the gradients of a process, each of a part of its share.
int64_t batch_parts(const TrainingTask& task, const TrainingOptions& options, torch::Device device,
                    int64_t processes);

}  // namespace attend::detail
