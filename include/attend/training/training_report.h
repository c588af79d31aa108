#pragma once

// For programs that train.

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace attend {

/// One line of a run's log: what happened since the last one.
struct TrainingReport {
  int64_t epoch = 0;             // 1 for the first
  int64_t update = 0;            // updates so far
  int64_t examples = 0;          // sentences, images: of this epoch so far
  double cost = 0;               // mean loss, of a translator that of a target token, in nats
  double tokens_per_second = 0;  // of a translator real tokens, source and target together
  double gradient_norm = 0;      // mean, before clipping
  int64_t skipped = 0;           // updates left out, since their loss or gradient was not finite
  double learning_rate = 0;      // of the last update
  double progress = 0;           // part of the run that is done, [0, 1]
  double elapsed = 0;            // seconds of training, interruptions not counted
  double time_left = 0;          // seconds, estimated
};

/// The scores of a validation.
struct ValidationReport {
  int64_t epoch = 0;
  int64_t update = 0;
  double elapsed = 0;                                  // seconds of training so far
  std::vector<std::pair<std::string, double>> scores;  // by metric, in their order
  std::vector<std::string> improved;                   // metrics at their best so far
  bool of_mean = false;                                // of the mean of the last checkpoints
};

/// Where a run tells what happens; each may be empty.
struct TrainingCallbacks {
  std::function<void(const TrainingReport&)> progress;      // after every update
  std::function<void(const TrainingReport&)> report;        // every disp_freq
  std::function<void(const ValidationReport&)> validation;  // after every validation
  std::function<void(const std::string&)> note;             // anything else worth a line
  std::function<bool()> stop_requested;                     // true: save and return
};

/// How a run ended.
struct TrainingResult {
  bool interrupted = false;              // by stop_requested
  int64_t updates = 0;                   // in all
  double elapsed = 0;                    // seconds
  std::optional<ValidationReport> last;  // the last validation
};

}  // namespace attend
