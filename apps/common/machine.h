#pragma once

#include <torch/torch.h>

#include <CLI/CLI.hpp>
#include <string>

namespace attend::app {

/// Where a program computes.
struct MachineOptions {
  std::string device = "cpu";  // cpu, cuda or cuda:i
  int threads = 0;             // of CPU work; 0: as many as cores
};

void add_machine_options(CLI::App& app, MachineOptions& options);

/// Sets the number of threads and the allocator, and returns the device. Throws c10::ValueError for a device that is
/// unknown or not there.
torch::Device prepare_machine(const MachineOptions& options);

}  // namespace attend::app
