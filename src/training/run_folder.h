#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "attend/training/training_report.h"
#include "attend/training/training_task.h"
#include "training/checkpoint_average.h"
#include "training/metrics_log.h"
#include "training/snapshot.h"

namespace attend::detail {

/// The folder of a run: the last model, the best ones, the checkpoints that are averaged, the log and
/// the snapshot. Writes below its path and nowhere else; of several processes one has it.
class RunFolder {
 public:
  /// Makes the folder, and removes what killed processes left in it. average_checkpoints: how many
  /// are kept, 0 for none.
  ///
  /// Throws: FileError, as all methods.
  RunFolder(std::filesystem::path path, int64_t average_checkpoints);

  /// Removes the log of an earlier run.
  void start_again() const;

  /// Opens the log of a run that goes on after an update.
  void open_log(int64_t update);
  void write(const TrainingReport& report) { log_->write(report); }
  void write(const ValidationReport& report) { log_->write(report); }
  void write(const Snapshot& snapshot) const;

  /// Saves the model as the last one, and as the best one by these metrics.
  void save(TrainingTask& task, const std::vector<std::string>& best_by) const;

  bool averages() const { return checkpoints_.has_value(); }
  /// Keeps the weights after an update as a checkpoint, where some are averaged.
  void keep(int64_t update, const torch::nn::Module& module);
  /// The module's weights become the mean of the checkpoints.
  void take_mean(torch::nn::Module& module) const;

 private:
  std::filesystem::path path_;
  std::optional<CheckpointAverage> checkpoints_;
  std::optional<MetricsLog> log_;
};

/// Where a run's folder has its snapshot.
std::filesystem::path snapshot_in(const std::filesystem::path& folder);

}  // namespace attend::detail
