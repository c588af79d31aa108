#include "throughput.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace attend::app {
namespace {

// Latencies are counted in steps of 4 % from a microsecond on, so that the middle of a step is within
// 2 % of each.
constexpr double kLeastLatency = 1e-6, kStep = 1.04;
constexpr size_t kSteps = 700;  // to 10 days

std::string milliseconds(double seconds) { return fmt::format("{:.3g} ms", 1e3 * seconds); }

}  // namespace

Throughput::Throughput() : start_(std::chrono::steady_clock::now()), latencies_(kSteps) {}

void Throughput::add(int64_t lines, int64_t source_words, int64_t target_words, double seconds) {
  lines_ += lines;
  source_words_ += source_words;
  target_words_ += target_words;
  const auto step = std::log(std::max(seconds, kLeastLatency) / kLeastLatency) / std::log(kStep);
  latencies_[std::min(static_cast<size_t>(step), kSteps - 1)] += lines;
}

double Throughput::latency(double part) const {
  const auto wanted = static_cast<int64_t>(std::ceil(part * static_cast<double>(lines_)));
  int64_t counted = 0;
  size_t step = 0;
  for (; step < kSteps; ++step) {
    counted += latencies_[step];
    if (counted >= wanted) break;
  }
  return kLeastLatency * std::pow(kStep, static_cast<double>(step) + 0.5);
}

double Throughput::seconds() const {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
}

std::string Throughput::summary() const {
  constexpr double kMedian = 0.5, kMost = 0.99;
  const auto all = seconds();
  const auto counted = [](int64_t count, const char* what) {
    return fmt::format("{} {}{}", count, what, count == 1 ? "" : "s");
  };
  auto text = fmt::format("{}, {}, {} in {:.2f} s", counted(lines_, "line"),
                          counted(source_words_, "source word"),
                          counted(target_words_, "target word"), all);
  if (lines_ == 0) return text;
  return text + fmt::format(": {:.0f} lines/s, {:.0f} target words/s, latency p50 {}, p99 {}",
                            static_cast<double>(lines_) / all,
                            static_cast<double>(target_words_) / all,
                            milliseconds(latency(kMedian)), milliseconds(latency(kMost)));
}

}  // namespace attend::app
