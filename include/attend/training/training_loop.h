#pragma once

// For programs that train.

#include <torch/torch.h>

#include <filesystem>
#include <memory>

#include "attend/toolkit_export.h"
#include "attend/training/training_options.h"
#include "attend/training/training_report.h"
#include "attend/training/training_task.h"
#include "attend/training/worker_group.h"

namespace attend {

/// Trains what a task describes, in memory or into a folder.
///
/// The folder holds the last model as the task saves it, the best one by each metric in
/// `best-<metric>/`, a log of one JSON object a line in `metrics.jsonl`, and the one file that resuming
/// reads, `training.safetensors`: weights, optimiser and counters. Each file is replaced whole or not
/// at all, the snapshot last, so a kill or a full disk at any moment leaves a folder to go on from.
/// Without a folder the module itself holds the result: with exponential_smoothing, the average.
///
/// The random numbers of an update are a function of the seed and of its number alone, so that a
/// resumed run does what the uninterrupted one would have done, bit by bit on the same CPU with as
/// many threads. LibTorch's default generators are left as they were found.
///
/// Several processes (`workers`) share each batch, and their gradient is that of the whole batch: a
/// run may go on with another number of them. The first one writes; the others read the same folder.
/// Nothing here keeps two runs out of one folder: a program takes a `FolderLock` before it begins.
///
/// Throws: c10::ValueError for options; FileError for files, and if the folder's snapshot is of another
///         run; c10::Error from `run`, where updates stay without a finite gradient (it names the
///         batch), or where a process is lost. The folder's last snapshot is whole then.
class ATTEND_TOOLKIT_API TrainingLoop {
 public:
  /// Moves the module to the device. The task must outlive the loop.
  explicit TrainingLoop(TrainingTask& task, const TrainingOptions& options = {},
                        std::filesystem::path folder = {}, torch::Device device = torch::kCPU,
                        const WorkerGroup& workers = {});
  ~TrainingLoop();
  TrainingLoop(const TrainingLoop&) = delete;
  TrainingLoop& operator=(const TrainingLoop&) = delete;
  TrainingLoop(TrainingLoop&&) = delete;
  TrainingLoop& operator=(TrainingLoop&&) = delete;

  /// Trains to the end, or until stopped. The module is in evaluation mode afterwards.
  TrainingResult run(const TrainingCallbacks& callbacks = {});

  /// Whether the run goes on from a snapshot.
  bool resumed() const;

 private:
  class Run;
  std::unique_ptr<Run> run_;
};

/// Whether `folder` holds a snapshot to go on from.
ATTEND_TOOLKIT_API bool has_snapshot(const std::filesystem::path& folder);

}  // namespace attend
