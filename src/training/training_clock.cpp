#include "training/training_clock.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <cmath>

namespace attend::detail {

double TrainingClock::Done::amount(Duration::Unit unit) const {
  constexpr double kSecondsOfMinute = 60.0;
  switch (unit) {
    case Duration::Unit::kEpochs:
      return epochs;
    case Duration::Unit::kUpdates:
      return static_cast<double>(updates);
    case Duration::Unit::kMinutes:
      return seconds / kSecondsOfMinute;
  }
  TORCH_INTERNAL_ASSERT(false, "unit");
}

void TrainingClock::resume(int64_t updates, double epochs, double seconds) {
  done_ = before_ = {updates, epochs, seconds};
}

void TrainingClock::start() {
  earlier_seconds_ = done_.seconds;
  started_ = std::chrono::steady_clock::now();
}

double TrainingClock::elapsed() const {
  const auto since = std::chrono::steady_clock::now() - started_;
  return earlier_seconds_ + std::chrono::duration<double>(since).count();
}

void TrainingClock::advance(double epochs, double seconds) {
  before_ = done_;
  done_ = {before_.updates + 1, epochs, seconds};
}

double TrainingClock::progress() const {
  return std::min(1.0, done_.amount(end_.unit) / end_.amount);
}

double TrainingClock::time_left() const {
  const double part = progress();
  return part > 0 ? done_.seconds / part - done_.seconds : 0;
}

bool TrainingClock::is_due(const Duration& every) const {
  constexpr double kRounding = 1e-9;
  const auto count = [&](const Done& done) {
    return std::floor(done.amount(every.unit) / every.amount + kRounding);
  };
  return count(done_) > count(before_);
}

}  // namespace attend::detail
