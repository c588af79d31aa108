#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace attend::detail {

/// A round value of a scale, with its text.
struct Tick {
  double value = 0;
  std::string text;
};

/// Round values from `minimum` to `maximum`, at most `count` (at least 2).
std::vector<Tick> make_ticks(double minimum, double maximum, int64_t count);

}  // namespace attend::detail
