#include "attend/training/duration.h"

#include <c10/util/Exception.h>
#include <fmt/format.h>

#include <cmath>

namespace attend {

Duration Duration::parse(const std::string& text) {
  const auto bad = [&] {
    TORCH_CHECK_VALUE(false, "Duration: expected a number > 0 and e (epochs), u (updates) or m ",
                      "(minutes), such as 20e, got ", text);
  };
  size_t used = 0;
  Duration result;
  try {
    result.amount = std::stod(text, &used);
  } catch (const std::exception&) {
    bad();
  }
  if (used + 1 != text.size() || !(result.amount > 0) || !std::isfinite(result.amount)) bad();
  switch (text.back()) {
    case 'e':
      result.unit = Unit::kEpochs;
      break;
    case 'u':
      result.unit = Unit::kUpdates;
      break;
    case 'm':
      result.unit = Unit::kMinutes;
      break;
    default:
      bad();
  }
  return result;
}

std::string Duration::to_string() const {
  return fmt::format("{:g}{}", amount,
                     unit == Unit::kEpochs ? 'e' : (unit == Unit::kUpdates ? 'u' : 'm'));
}

}  // namespace attend
