#pragma once

#include "support/pretend_device.h"

namespace attend::testing_support {

/// The threads that have one are inside a kernel of the pretend device: what they move is not counted.
class InsideKernel {
 public:
  InsideKernel();
  ~InsideKernel();
  InsideKernel(const InsideKernel&) = delete;
  InsideKernel& operator=(const InsideKernel&) = delete;
  InsideKernel(InsideKernel&&) = delete;
  InsideKernel& operator=(InsideKernel&&) = delete;
};

/// Counts a copy, unless the thread is inside a kernel.
void count_copy(const torch::Tensor& from, const torch::Tensor& to);

/// Counts a number that the host asks for, unless the thread is inside a kernel.
void count_read();

}  // namespace attend::testing_support
