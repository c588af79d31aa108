#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace attend::app {

/// Counts what `translate` has done, in memory that does not grow with it.
class Throughput {
 public:
  Throughput();

  /// Counts lines that were read at the same time and answered `seconds` later.
  void add(int64_t lines, int64_t source_words, int64_t target_words, double seconds);

  /// The seconds within which a part of the lines, in (0, 1], was answered; to 2 %.
  double latency(double part) const;

  int64_t lines() const { return lines_; }
  /// Since construction.
  double seconds() const;

  /// One line: what was done, how fast, and the latency of most lines.
  std::string summary() const;

 private:
  std::chrono::steady_clock::time_point start_;
  int64_t lines_ = 0, source_words_ = 0, target_words_ = 0;
  std::vector<int64_t> latencies_;  // lines by the logarithm of their latency
};

}  // namespace attend::app
