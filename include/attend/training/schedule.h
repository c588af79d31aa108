#pragma once

// For those who write training loops of their own.

#include <cstdint>

#include "attend/toolkit_export.h"

namespace attend {

/// How the learning rate falls after its warm-up.
enum class Decay {
  kInverseSquareRoot,  // peak * sqrt(warmup / update): Vaswani et al., 2017, section 5.3
  kLinear,             // peak * (1 - progress)
  kNone,               // stays at its peak
};

/// The learning rate over a run.
///
///   rate(u) = peak * min(u / warmup, decay(u)) * cooldown
struct ATTEND_TOOLKIT_API Schedule {
  double peak = 0.0003;                     // the highest learning rate; > 0
  int64_t warmup = 4000;                    // updates of linear rise; >= 0
  Decay decay = Decay::kInverseSquareRoot;  // after that
  double cooldown = 0.0;                    // fraction at the end of the run, [0, 1], in which the
                                            // rate also falls linearly...
  double cooldown_floor = 0.1;              // ...to this fraction of itself; [0, 1]

  /// The rate of an update. update: 1 for the first. progress: the fraction of the run that was
  /// done before it, [0, 1]; needed for kLinear and cooldown.
  double rate(int64_t update, double progress) const;

  /// Throws c10::ValueError for a field out of its range.
  void validate() const;
};

}  // namespace attend
