#include "viz/ticks.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace attend::detail {

std::vector<Tick> make_ticks(double minimum, double maximum, int64_t count) {
  const double rough = (maximum - minimum) / static_cast<double>(std::max<int64_t>(count, 2));
  const double power = std::pow(10.0, std::floor(std::log10(rough)));
  double step = power * 10;
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (power * factor >= rough * 0.999) {
      step = power * factor;
      break;
    }
  }
  const double largest = std::max(std::abs(minimum), std::abs(maximum));
  const int decimals =
      static_cast<int>(std::clamp(-std::floor(std::log10(step) + 1e-9), 0.0, 12.0));
  const bool is_general = largest >= 1e6 || decimals > 5;
  std::vector<Tick> ticks;
  const double slack = 1e-6;  // in steps; keeps bounds that are multiples of the step
  const double first = std::ceil(minimum / step - slack);
  const double last = std::floor(maximum / step + slack);
  for (double i = first; i <= last && static_cast<int64_t>(ticks.size()) <= count; ++i) {
    const double value = i * step + 0.0;  // + 0.0: no negative zero
    ticks.push_back({value, is_general ? fmt::format("{:.6g}", value)
                                       : fmt::format("{:.{}f}", value, decimals)});
  }
  return ticks;
}

}  // namespace attend::detail
