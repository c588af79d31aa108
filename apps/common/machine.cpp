#include "common/machine.h"

namespace attend::app {

void add_machine_options(CLI::App& app, MachineOptions& options) {
  app.add_option("--device", options.device, "cpu, cuda or cuda:<index>")->capture_default_str();
  app.add_option("--threads", options.threads, "CPU threads; 0: one a core")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
}

torch::Device prepare_machine(const MachineOptions& options) {
  if (options.threads > 0) torch::set_num_threads(options.threads);
  const bool is_cuda = options.device == "cuda" || options.device.starts_with("cuda:");
  TORCH_CHECK_VALUE(is_cuda || options.device == "cpu",
                    "--device: expected cpu, cuda or cuda:<index>, got ", options.device);
  TORCH_CHECK_VALUE(!is_cuda || torch::cuda::is_available(),
                    "--device: expected a CUDA device for ", options.device, ", got none");
  const torch::Device device(options.device);
  TORCH_CHECK_VALUE(!is_cuda || device.index() < static_cast<int>(torch::cuda::device_count()),
                    "--device: expected an index below ", torch::cuda::device_count(), ", got ",
                    options.device);
  return device;
}

}  // namespace attend::app
