#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace attend::detail {

/// A tick of an axis or a colour bar, and its text.
struct Tick {
  double value = 0;
  std::string text;
};

/// Ticks at round values in [minimum, maximum], at most `count` (at least 2).
std::vector<Tick> make_ticks(double minimum, double maximum, int64_t count);

}  // namespace attend::detail
