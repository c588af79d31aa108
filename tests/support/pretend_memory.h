#pragma once

#include <c10/core/Allocator.h>
#include <torch/torch.h>

#include <mutex>

namespace attend::testing_support {

/// The allocator of the pretend device. Each block has pages of its own, which may be neither read nor written but through
/// an `OpenMemory`, and which start as NaN.
c10::Allocator* pretend_allocator();

/// The memory of tensors as tensors of the CPU, which share it, as long as this lives. One thread at a time has any.
class OpenMemory {
 public:
  OpenMemory() = default;
  ~OpenMemory();
  OpenMemory(const OpenMemory&) = delete;
  OpenMemory& operator=(const OpenMemory&) = delete;
  OpenMemory(OpenMemory&&) = delete;
  OpenMemory& operator=(OpenMemory&&) = delete;

  torch::Tensor operator()(const torch::Tensor& x);

 private:
  static std::recursive_mutex& mutex();
  std::scoped_lock<std::recursive_mutex> lock_{mutex()};
  std::vector<torch::Tensor> open_;
};

}  // namespace attend::testing_support
