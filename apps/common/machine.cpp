#include "common/machine.h"

#include <attend/cuda.h>

#include "common/number_flag.h"

#ifdef ATTEND_JEMALLOC
#include <jemalloc/jemalloc.h>
#else
#include <malloc.h>
#endif

namespace attend::app {
namespace {

// By default, freed memory is returned to the kernel, and new tensors cause page faults again, up
// to a quarter of a training step. A program may decide to keep freed memory; the library never
// does.
#ifdef ATTEND_JEMALLOC
void keep_freed_memory() {
  ssize_t never = -1;
  for (const auto* delay : {"arenas.dirty_decay_ms", "arenas.muzzy_decay_ms",       // new arenas
                            "arena.0.dirty_decay_ms", "arena.0.muzzy_decay_ms"}) {  // first arena
    // If the call fails, freed memory is returned as by default.
    (void)mallctl(delay, nullptr, nullptr, &never, sizeof(never));
  }
}
#else
// A single arena for all threads: the heaps of other arenas are returned when they are empty.
void keep_freed_memory() {
  constexpr int kOneGigabyte = 1 << 30;
  mallopt(M_MMAP_THRESHOLD, kOneGigabyte);
  mallopt(M_TRIM_THRESHOLD, kOneGigabyte);
  mallopt(M_ARENA_MAX, 1);
}
#endif

}  // namespace

void add_machine_options(CLI::App& app, MachineOptions& options) {
  constexpr int kMostThreads = 4096;
  app.add_option("--device", options.device, "cpu, cuda or cuda:<index>")->capture_default_str();
  add_number(app, "--threads", options.threads, {.least = 0, .most = kMostThreads},
             "CPU threads; 0: one per core");
}

torch::Device prepare_machine(const MachineOptions& options) {
  keep_freed_memory();
  if (options.threads > 0) torch::set_num_threads(options.threads);
  const bool is_cuda = options.device == "cuda" || options.device.starts_with("cuda:");
  TORCH_CHECK_VALUE(is_cuda || options.device == "cpu",
                    "--device: expected cpu, cuda or cuda:<index>, got ", options.device);
  if (is_cuda) load_cuda();
  TORCH_CHECK_VALUE(!is_cuda || torch::cuda::is_available(),
                    "--device: expected a CUDA device for ", options.device, ", got none");
  const torch::Device device(options.device);
  TORCH_CHECK_VALUE(!is_cuda || device.index() < static_cast<int>(torch::cuda::device_count()),
                    "--device: expected an index below ", torch::cuda::device_count(), ", got ",
                    options.device);
  return device;
}

}  // namespace attend::app
