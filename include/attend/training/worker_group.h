#pragma once

// For programs that train in several processes.

#include <torch/torch.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <vector>

#include "attend/toolkit_export.h"

namespace attend {
namespace detail {
class GradientReducer;
}

/// The processes of a data-parallel run, or one process alone.
///
/// A value: copies are the same group. Every method but the numbers is called by all processes, in
/// the same order. The transport is c10d's: Gloo for CPU tensors, and for those of GPUs NCCL where
/// attend was built with it, or else Gloo.
///
/// Throws: c10::Error where a process does not answer within the timeout, or is gone.
class ATTEND_TOOLKIT_API WorkerGroup {
 public:
  static constexpr std::chrono::seconds kTimeout{1800};

  /// One process alone: nothing is sent.
  WorkerGroup() = default;

  /// As a launcher such as torchrun says: RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT, LOCAL_RANK. One
  /// process alone where WORLD_SIZE is 1 or not set.
  ///
  /// Throws: c10::ValueError where one of them is missing or out of range.
  static WorkerGroup from_environment(std::chrono::milliseconds timeout = kTimeout);

  int64_t rank() const;        // 0 is the one that writes
  int64_t size() const;        // processes
  int64_t local_rank() const;  // on its machine
  bool is_first() const { return rank() == 0; }

  /// Every process has the first one's values afterwards.
  void broadcast(const std::vector<torch::Tensor>& tensors) const;
  /// The sum, or the largest, over all processes, in place.
  void sum(torch::Tensor& tensor) const;
  void max(torch::Tensor& tensor) const;
  /// Returns once every process has called it.
  void barrier() const;

 private:
  friend class detail::GradientReducer;
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace attend
