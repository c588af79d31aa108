#pragma once

#include <torch/torch.h>

#include <cstdint>

namespace attend::testing_support {

/// A device that is not the CPU, for machines without a GPU: LibTorch's kPrivateUse1, `pretend:0`. Its kernels are the
/// CPU's, run on copies, so its numbers are the CPU's too. What differs is what goes wrong on a GPU alone: the host cannot
/// read its memory (a program that does so ends with SIGSEGV), no operation takes tensors of both, memory is not zero at
/// first, random numbers come from a generator of its own, and what goes between the two is counted.
///
/// Makes the device known to LibTorch, once. Not where there is a CUDA device: LibTorch knows one accelerator at a time.
void register_pretend_device();

/// Whether there is one.
bool has_pretend_device();

/// What went between the host and the pretend device, by all threads. What a kernel moves for itself does not count.
struct Transfers {
  int64_t to_device = 0;      // copies
  int64_t to_host = 0;        // copies; the host waits for each
  int64_t bytes_to_host = 0;  // of them
  int64_t reads = 0;  // single numbers, and sizes that depend on them; the host waits for each

  /// How often the host had to wait until the device had done all it was asked for.
  int64_t waits() const { return to_host + reads; }
};

/// Since the program began.
Transfers transfers();

/// What `work` moves, if no other thread works.
template <typename Work>
Transfers transfers_of(const Work& work) {
  const auto before = transfers();
  work();
  const auto after = transfers();
  return {after.to_device - before.to_device, after.to_host - before.to_host,
          after.bytes_to_host - before.bytes_to_host, after.reads - before.reads};
}

}  // namespace attend::testing_support
