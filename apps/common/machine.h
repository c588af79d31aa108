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

/// Whether a device multiplies bfloat16 numbers faster than float32: a GPU does, and a processor with AMX or
/// AVX512_BF16. Of other architectures than x86 nothing is known, and true is returned.
bool has_fast_bfloat16(const torch::Device& device);

}  // namespace attend::app
