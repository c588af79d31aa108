#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "training/snapshot.h"

namespace attend::detail {

/// The weights of a run's last checkpoints, each a file in a folder, and their mean.
///
/// Source: Vaswani et al., 2017, section 6.1 (the last 5 or 20 checkpoints).
class CheckpointAverage {
 public:
  /// Keeps the last `count`.
  CheckpointAverage(std::filesystem::path folder, int64_t count);

  /// Writes the weights after an update, and removes those older than the last `count`, and those
  /// of later updates, which a run left that was killed after its last snapshot.
  void keep(int64_t update, const TensorMap& weights);

  /// The mean, computed in float64.
  TensorMap mean() const;

 private:
  std::vector<std::filesystem::path> files() const;  // by update

  std::filesystem::path folder_;
  int64_t count_;
};

}  // namespace attend::detail
