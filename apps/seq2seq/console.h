#pragma once

#include <torch/torch.h>

#include <CLI/CLI.hpp>
#include <string>

#include "attend/training/trainer.h"

namespace attend::app {

/// What every subcommand takes.
struct MachineOptions {
  std::string device = "cpu";  // cpu, cuda or cuda:i
  int threads = 0;             // of CPU work; 0: as many as cores
};

void add_machine_options(CLI::App& app, MachineOptions& options);

/// Sets the number of threads and returns the device. Throws c10::ValueError for a device that is
/// unknown or not there.
torch::Device prepare_machine(const MachineOptions& options);

/// A run's log lines on standard error, with a progress bar below them where that is a terminal.
/// Stops the run at SIGINT and SIGTERM, at the next update.
class TrainingConsole {
 public:
  explicit TrainingConsole(bool quiet);
  TrainerCallbacks callbacks();
  void line(const std::string& text);

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
