#pragma once

#include <torch/torch.h>

#include <CLI/CLI.hpp>
#include <string>

#include "attend/training/training_report.h"

namespace attend::app {

/// Prints a run's log lines to standard error, with a progress bar below them on a terminal.
/// SIGINT, SIGTERM and SIGHUP (terminal closed) stop the run at the next update. SIGHUP stays
/// ignored if it already was, as under nohup. SIGPIPE does not end the run.
class TrainingConsole {
 public:
  explicit TrainingConsole(bool quiet);
  TrainingCallbacks callbacks();
  void line(const std::string& text);
  /// Whether one of these signals was received.
  bool is_stop_requested() const;

 private:
  void draw(const TrainingReport& report);
  void clear_bar();

  bool quiet_;
  bool terminal_;
  bool bar_drawn_ = false;
  double drawn_at_ = 0;
};

/// A duration as "1:02:03" or "4:05".
std::string clock_time(double seconds);

}  // namespace attend::app
