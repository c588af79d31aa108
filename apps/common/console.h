#pragma once

#include <torch/torch.h>

#include <CLI/CLI.hpp>
#include <string>

#include "attend/training/training_report.h"

namespace attend::app {

/// A run's log lines on standard error, with a progress bar below them where that is a terminal.
/// Stops the run at SIGINT, SIGTERM and SIGHUP, the end of its terminal, at the next update. SIGHUP
/// stays ignored where it was, as under nohup. A reader of the log that is gone does not end a run.
class TrainingConsole {
 public:
  explicit TrainingConsole(bool quiet);
  TrainingCallbacks callbacks();
  void line(const std::string& text);
  /// Whether one of these signals came.
  bool is_stop_requested() const;

 private:
  void draw(const TrainingReport& report);
  void clear_bar();

  bool quiet_;
  bool terminal_;
  bool bar_drawn_ = false;
  double drawn_at_ = 0;
};

/// "1:02:03" or "4:05".
std::string clock_time(double seconds);

}  // namespace attend::app
