#include "support/pretend_transfers.h"

#include <atomic>

namespace attend::testing_support {
namespace {

struct Counters {
  std::atomic<int64_t> to_device = 0, to_host = 0, bytes_to_host = 0, reads = 0;
};

Counters& counters() {
  static Counters counters;
  return counters;
}

int& depth() {
  static thread_local int depth = 0;
  return depth;
}

}  // namespace

Transfers transfers() {
  const auto& c = counters();
  return {c.to_device, c.to_host, c.bytes_to_host, c.reads};
}

InsideKernel::InsideKernel() { ++depth(); }
InsideKernel::~InsideKernel() { --depth(); }

void count_copy(const torch::Tensor& from, const torch::Tensor& to) {
  if (depth() > 0 || from.device() == to.device()) return;
  if (to.is_cpu()) {
    ++counters().to_host;
    counters().bytes_to_host += static_cast<int64_t>(from.nbytes());
  } else {
    ++counters().to_device;
  }
}

void count_read() {
  if (depth() == 0) ++counters().reads;
}

}  // namespace attend::testing_support
