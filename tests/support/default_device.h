#pragma once

#include <c10/core/impl/LocalDispatchKeySet.h>
#include <torch/torch.h>

namespace attend::testing_support {

/// From now on, this thread makes tensors on `device` where it names none: a test that is written for the CPU runs there.
/// attend's own tensors are meant too, so this finds no tensor that attend makes on the CPU and should not; tests with
/// explicit devices do.
void make_tensors_on(torch::Device device);

/// The device that the environment variable ATTEND_TEST_DEVICE names, or the CPU: `cpu`, `pretend` or `cuda`.
torch::Device test_device();

/// Tensors are made on the CPU again while this lives.
class TensorsOnCpu {
 public:
  TensorsOnCpu();

 private:
  c10::impl::ExcludeDispatchKeyGuard without_;
};

}  // namespace attend::testing_support
