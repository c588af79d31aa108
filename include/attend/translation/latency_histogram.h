#pragma once

// For programs that watch how long their requests take.

#include <array>
#include <cstdint>

#include "attend/toolkit_export.h"

namespace attend {

/// Counts durations in buckets of growing width, as Prometheus does, so that percentiles of any number
/// of durations need little memory.
class ATTEND_TOOLKIT_API LatencyHistogram {
 public:
  // The buckets' upper bounds in seconds, inclusive; a last bucket has none.
  static constexpr std::array kBounds{0.001, 0.0015, 0.002, 0.003, 0.005, 0.007, 0.01, 0.015,
                                      0.02,  0.03,   0.05,  0.07,  0.1,   0.15,  0.2,  0.3,
                                      0.5,   0.7,    1.0,   1.5,   2.0,   3.0,   5.0,  7.0,
                                      10.0,  15.0,   20.0,  30.0,  50.0,  70.0,  100.0};

  void add(double seconds);

  /// The number in each bucket, one more than there are bounds.
  const std::array<uint64_t, kBounds.size() + 1>& counts() const { return counts_; }
  uint64_t count() const;
  double sum() const { return sum_; }  // of all durations, in seconds

  /// The duration in seconds that `part` of all do not exceed (0.5: the median), interpolated linearly
  /// in its bucket, so within the bucket's width; in the last bucket the longest duration. 0 where
  /// nothing was counted.
  /// Throws: c10::ValueError unless 0 <= part <= 1.
  double percentile(double part) const;

 private:
  std::array<uint64_t, kBounds.size() + 1> counts_{};
  double sum_ = 0, longest_ = 0;
};

}  // namespace attend
