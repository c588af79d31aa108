#pragma once

#include <chrono>
#include <cstdint>

#include "attend/training/duration.h"

namespace attend::detail {

/// How far a run is, in updates, epochs and seconds. Touches nothing but the system's clock.
class TrainingClock {
 public:
  /// Of a run that ends after so much.
  explicit TrainingClock(const Duration& end) : end_(end) {}

  /// The run has done so much before.
  void resume(int64_t updates, double epochs, double seconds);

  /// Time counts from now on.
  void start();

  /// Seconds of training, interruptions not counted, by the clock of this process.
  double elapsed() const;

  /// An update is done. seconds: `elapsed` as all processes agree.
  void advance(double epochs, double seconds);

  int64_t updates() const { return done_.updates; }
  double epochs() const { return done_.epochs; }
  double seconds() const { return done_.seconds; }

  /// The part of the run that is done, [0, 1].
  double progress() const;
  /// Seconds, estimated.
  double time_left() const;
  /// Whether a multiple of `every` lies between what was done before the last update and after it.
  bool is_due(const Duration& every) const;

 private:
  struct Done {
    int64_t updates = 0;
    double epochs = 0, seconds = 0;

    double amount(Duration::Unit unit) const;
  };

  Duration end_;
  Done done_, before_;          // before_: of the last update
  double earlier_seconds_ = 0;  // until start
  std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
};

}  // namespace attend::detail
