#pragma once

// For programs that train.

#include <string>

#include "attend/toolkit_export.h"

namespace attend {

/// An amount of training: "20e" epochs, "5000u" updates or "30m" minutes.
struct ATTEND_TOOLKIT_API Duration {
  enum class Unit { kEpochs, kUpdates, kMinutes };
  double amount = 0;
  Unit unit = Unit::kUpdates;

  /// Throws c10::ValueError for anything but a number > 0 and one of e, u, m.
  static Duration parse(const std::string& text);
  std::string to_string() const;
};

}  // namespace attend
