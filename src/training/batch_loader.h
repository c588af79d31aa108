#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <future>
#include <string>
#include <vector>

#include "attend/training/training_task.h"
#include "training/data_position.h"

namespace attend::detail {

/// One process's share of a batch.
struct BatchShare {
  std::vector<std::vector<torch::Tensor>> parts;  // one for each thread; fewer for a few examples
  bool counts = true;       // false: the batch has too few examples, and this is a stand-in
  DataPosition at, after;   // of the batch, and of the next one
  double epochs_done = 0;   // after it
  int64_t examples = 0;     // of the whole batch
  int64_t tokens = 0;       // of the whole batch
  int64_t loss_terms = 0;   // of the whole batch
  int64_t share_terms = 0;  // of this share; 0 for a stand-in
};

/// The batches of a task, in their order, each made in a thread while the one before is used. Touches
/// nothing but the task's data.
class BatchLoader {
 public:
  /// The share of process `rank` of `processes`, in `parts` parts; in pinned memory where a GPU will
  /// read it. The task must outlive the loader.
  BatchLoader(TrainingTask& task, int64_t rank, int64_t processes, int64_t parts, bool pinned);

  /// The next batch is the one at `position`.
  void seek(const DataPosition& position);
  BatchShare next();

  /// What the task says of the batch at a position. Seek before the next batch.
  std::string describe(const DataPosition& position);

 private:
  BatchShare make(const DataPosition& at);
  const std::vector<size_t>& chosen(const DataPosition& at);
  void step(BatchShare& share) const;

  TrainingTask* task_;
  size_t rank_, processes_, parts_;
  bool pinned_;
  DataPosition planned_;  // epoch and pool of plan_
  BatchPlan plan_;        // empty before the first
  DataPosition next_;
  std::future<BatchShare> ahead_;  // last, so that its thread ends before what it uses
};

}  // namespace attend::detail
