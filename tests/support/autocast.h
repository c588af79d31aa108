#pragma once

#include <ATen/autocast_mode.h>

namespace attend::testing_support {

/// Autocast on the CPU, to bfloat16 or another type, for as long as this lives.
class CpuAutocast {
 public:
  explicit CpuAutocast(at::ScalarType type = at::kBFloat16)
      : previous_(at::autocast::get_autocast_dtype(at::kCPU)) {
    at::autocast::set_autocast_dtype(at::kCPU, type);
    at::autocast::set_autocast_enabled(at::kCPU, true);
  }
  ~CpuAutocast() {
    at::autocast::clear_cache();
    at::autocast::set_autocast_enabled(at::kCPU, false);
    at::autocast::set_autocast_dtype(at::kCPU, previous_);
  }
  CpuAutocast(const CpuAutocast&) = delete;
  CpuAutocast& operator=(const CpuAutocast&) = delete;

 private:
  at::ScalarType previous_;
};

}  // namespace attend::testing_support
