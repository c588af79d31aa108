#pragma once

// For programs that train.

#include <torch/torch.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "attend/data/batches.h"
#include "attend/toolkit_export.h"

namespace attend {

/// What a `TrainingLoop` trains: a module, examples in batches, and the loss of a batch. An example
/// is a number, to which the task gives a meaning: a sentence pair, a text, an image.
///
/// Note: the next batch is planned and collated in another thread while the last one is trained on, so
///       `plan`, `collate`, `loss_terms` and `tokens` must not use what the other methods change.
class ATTEND_TOOLKIT_API TrainingTask {
 public:
  TrainingTask() = default;
  virtual ~TrainingTask() = default;
  TrainingTask(const TrainingTask&) = delete;
  TrainingTask& operator=(const TrainingTask&) = delete;
  TrainingTask(TrainingTask&&) = delete;
  TrainingTask& operator=(TrainingTask&&) = delete;

  /// The module whose parameters are trained.
  virtual torch::nn::Module& module() = 0;

  /// The examples of each batch of an epoch, 0 for the first; a pure function of its arguments. Data
  /// that do not fit into memory are read in several pools an epoch: examples are then those of the
  /// pool that was planned last.
  virtual BatchPlan plan(uint64_t epoch, size_t pool) = 0;
  virtual size_t pools() const { return 1; }

  /// The chosen examples as tensors on the CPU, which `loss_sum` gets on the device.
  virtual std::vector<torch::Tensor> collate(const std::vector<size_t>& examples) = 0;

  /// What an example adds to the number that the loss is divided by: its predicted tokens, or 1.
  virtual int64_t loss_terms(size_t /*example*/) const { return 1; }

  /// What an example adds to the tokens that a report counts.
  virtual int64_t tokens(size_t example) const { return loss_terms(example); }

  /// The tokens of a batch, roughly, which say how many threads are worth sharing one; 0: one thread.
  virtual int64_t batch_tokens() const { return 0; }

  /// The sum of the loss over the terms of the examples, a scalar. Several threads call it at a time,
  /// each with its share of a batch, unless there is one share.
  virtual torch::Tensor loss_sum(const std::vector<torch::Tensor>& batch) = 0;

  /// The names of what a validation scores; none: there is no validation. The last one decides early
  /// stopping.
  virtual std::vector<std::string> metrics() const { return {}; }

  /// The score by each metric. The module is in evaluation mode.
  virtual std::vector<std::pair<std::string, double>> scores() { return {}; }

  /// Whether a score beats the best one so far; less is better, unless the task says otherwise.
  virtual bool is_better(const std::string& metric, double score, double best) const;

  /// Writes the module as it is now into a folder: its weights as model.safetensors, unless the task
  /// writes more.
  virtual void save(const std::filesystem::path& folder);

  /// What must be the same in a run that goes on from a snapshot: a JSON object.
  virtual std::string identity() const { return "{}"; }

  /// Names a batch in the message of an error; the examples are those of the pool planned last.
  virtual std::string describe(const std::vector<size_t>& examples) const;
};

}  // namespace attend
