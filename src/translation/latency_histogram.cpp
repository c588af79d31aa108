#include "attend/translation/latency_histogram.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <numeric>

namespace attend {

void LatencyHistogram::add(double seconds) {
  const auto* bound = std::ranges::lower_bound(kBounds, seconds);
  ++counts_[static_cast<size_t>(bound - kBounds.begin())];
  sum_ += seconds;
  longest_ = std::max(longest_, seconds);
}

uint64_t LatencyHistogram::count() const {
  return std::accumulate(counts_.begin(), counts_.end(), uint64_t{0});
}

double LatencyHistogram::percentile(double part) const {
  TORCH_CHECK_VALUE(part >= 0 && part <= 1, "LatencyHistogram: expected a part in [0, 1], got ",
                    part);
  const double rank = part * static_cast<double>(count());
  double below = 0;
  for (size_t i = 0; i < kBounds.size(); ++i) {
    const auto inside = static_cast<double>(counts_[i]);
    if (inside > 0 && below + inside >= rank) {
      const double from = i == 0 ? 0 : kBounds[i - 1];
      const double at = from + (kBounds[i] - from) * std::max(0.0, rank - below) / inside;
      return std::min(at, longest_);
    }
    below += inside;
  }
  return longest_;
}

}  // namespace attend
