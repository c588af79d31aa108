#pragma once

#include <torch/torch.h>

#include <CLI/CLI.hpp>
#include <string>

namespace attend::app {

/// The device and the threads of a program.
struct MachineOptions {
  std::string device = "cpu";  // cpu, cuda or cuda:i
  int threads = 0;             // for CPU work; 0: one per core
};

void add_machine_options(CLI::App& app, MachineOptions& options);

/// Sets the number of threads and configures the allocator. Returns the device. Throws
/// c10::ValueError if the device is unknown or not available.
torch::Device prepare_machine(const MachineOptions& options);

}  // namespace attend::app
