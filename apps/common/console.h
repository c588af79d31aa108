#pragma once

#include <torch/torch.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <string>

#include "attend/training/training_report.h"

namespace attend::app {

/// A bar on the last line of standard error, if that is a terminal. What is printed above it must
/// come after `clear`.
class ProgressBar {
 public:
  ProgressBar();
  /// Draws the part that is done, in [0, 1], and a text after it; at most five times a second.
  void draw(double part, const std::string& text);
  void clear();

 private:
  bool terminal_;
  bool drawn_ = false;
  std::chrono::steady_clock::time_point drawn_at_;
};

/// Prints a run's log lines to standard error, with a progress bar below them on a terminal.
/// SIGINT, SIGTERM and SIGHUP (terminal closed) stop the run at the next update. SIGHUP stays
/// ignored if it already was, as under nohup. SIGPIPE does not end the run.
class TrainingConsole {
 public:
  /// `quiet`: prints nothing, as all processes of a group but the first.
  explicit TrainingConsole(bool quiet);
  TrainingCallbacks callbacks();
  void line(const std::string& text);
  /// Whether one of these signals was received.
  bool is_stop_requested() const;

 private:
  void draw(const TrainingReport& report);

  bool quiet_;
  ProgressBar bar_;
};

/// A duration as "1:02:03" or "4:05".
std::string clock_time(double seconds);

}  // namespace attend::app
