#pragma once

#include <torch/torch.h>

#include <chrono>
#include <cstdint>

#include "attend/training/training_report.h"
#include "attend/training/worker_group.h"
#include "training/batch_loader.h"

namespace attend::detail {

/// What the updates since the last report add up to. The sums stay on the device until they are
/// reported, so that no update waits for it.
class UpdateSums {
 public:
  /// loss: the sum of the share's loss; norm: of the gradient; skipped: 1 where the update is left
  /// out, else 0. All are scalars.
  void add(const BatchShare& share, const torch::Tensor& loss, const torch::Tensor& norm,
           const torch::Tensor& skipped);

  /// Leaves so much time out of the speed.
  void leave_out(std::chrono::steady_clock::duration time) { since_ += time; }

  double tokens_per_second() const;

  /// Cost, skipped updates and norm, with what the processes know together.
  void fill(TrainingReport& report, const WorkerGroup& workers) const;

 private:
  torch::Tensor loss_, norm_, terms_, skipped_;  // float64 but for the norm and skipped updates
  int64_t updates_ = 0, tokens_ = 0;
  std::chrono::steady_clock::time_point since_ = std::chrono::steady_clock::now();
};

}  // namespace attend::detail
