#pragma once

#include <ATen/autocast_mode.h>

namespace attend::testing_support {

/// Autocast on the CPU, to bfloat16, for as long as this lives.
class CpuAutocast {
 public:
  CpuAutocast() { at::autocast::set_autocast_enabled(at::kCPU, true); }
  ~CpuAutocast() {
    at::autocast::clear_cache();
    at::autocast::set_autocast_enabled(at::kCPU, false);
  }
  CpuAutocast(const CpuAutocast&) = delete;
  CpuAutocast& operator=(const CpuAutocast&) = delete;
};

}  // namespace attend::testing_support
