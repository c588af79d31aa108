#include "attend/training/schedule.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <cmath>

namespace attend {

void Schedule::validate() const {
  TORCH_CHECK_VALUE(peak > 0.0, "Schedule: expected a peak learning rate > 0, got ", peak);
  TORCH_CHECK_VALUE(warmup >= 0, "Schedule: expected warmup >= 0 updates, got ", warmup);
  TORCH_CHECK_VALUE(cooldown >= 0.0 && cooldown <= 1.0,
                    "Schedule: expected 0 <= cooldown <= 1, got ", cooldown);
  TORCH_CHECK_VALUE(cooldown_floor >= 0.0 && cooldown_floor <= 1.0,
                    "Schedule: expected 0 <= cooldown_floor <= 1, got ", cooldown_floor);
}

double Schedule::rate(int64_t update, double progress) const {
  const auto u = static_cast<double>(update), w = static_cast<double>(warmup);
  double factor = 1.0;
  if (warmup > 0) factor = std::min(factor, u / w);
  switch (decay) {
    case Decay::kInverseSquareRoot:
      factor = std::min(factor, std::sqrt(std::max(w, 1.0) / u));
      break;
    case Decay::kLinear:
      factor = std::min(factor, 1.0 - progress);
      break;
    case Decay::kNone:
      break;
  }
  if (cooldown > 0.0 && progress > 1.0 - cooldown) {
    const double left = std::max(0.0, (1.0 - progress) / cooldown);
    factor *= cooldown_floor + (1.0 - cooldown_floor) * left;
  }
  return peak * std::max(factor, 0.0);
}

}  // namespace attend
