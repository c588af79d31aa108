#pragma once

// For programs that train.

#include <cstdint>

#include "attend/toolkit_export.h"
#include "attend/training/adam.h"
#include "attend/training/duration.h"
#include "attend/training/muon.h"
#include "attend/training/schedule.h"

namespace attend {

/// The numbers of the matrix products of training. Weights, sums and the optimiser's state are those
/// of the model, float32 as a rule, with either.
enum class Precision {
  kOfModel,  // the model's own
  kBFloat16,  // LibTorch's autocast: half the memory traffic, and products at several times the speed
              // where the processor has them
};

/// What changes the weights by their gradients.
enum class OptimizerKind {
  kAdam,  // `Adam` of all parameters
  kMuon,  // `Muon` of the matrices between layers, `Adam` of all else
};

/// What a `TrainingLoop` does, whatever it trains.
struct ATTEND_TOOLKIT_API TrainingOptions {
  Duration after{20, Duration::Unit::kEpochs};        // stop then
  Duration valid_freq{1, Duration::Unit::kEpochs};    // validate and save that often
  Duration disp_freq{100, Duration::Unit::kUpdates};  // report that often
  double clip_norm = 1.0;                             // the largest norm of a gradient; 0: no limit
  double exponential_smoothing = 0.0;  // > 0: average the weights, each update with this part; the
                                       // average is what is validated and saved as the model
  int64_t average_checkpoints = 0;     // > 0: the model at the end is the mean of the last so many
                                       // validated ones; needs a folder
  int64_t max_bad_updates = 10;  // an update whose loss or gradient is not finite is left out;
                                 // after so many in a row the run stops with an error
  int64_t batch_shares = 0;  // on CPU: threads that each compute a share of a batch by themselves
                             // (`BatchThreads`); 0: as many as LibTorch has, but not so many that
                             // a share has fewer than 512 tokens
  Precision precision = Precision::kOfModel;  // of products in training; validation is exact
  Schedule schedule;
  OptimizerKind optimizer = OptimizerKind::kAdam;
  AdamOptions adam;            // of all parameters, or of those that Muon leaves
  MuonOptions muon;            // of the matrices, if it is the optimiser
  int64_t early_stopping = 0;  // stop after that many validations without a better score of the
                               // last metric; 0: never
  uint64_t seed = 1;           // of order and dropout; initial weights are the caller's
  bool reload = true;          // go on from the folder's snapshot if it has one

  /// Throws c10::ValueError for a field out of its range.
  void validate() const;
};

}  // namespace attend
