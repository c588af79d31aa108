#pragma once

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <ostream>
#include <string>
#include <vector>

#include "support/pretend_device.h"

namespace attend::testing_support {

/// Where and in what a test computes, and how far its results may be from float64's.
struct DeviceCase {
  const char* name;  // of the test's instance
  torch::DeviceType device;
  torch::Dtype dtype;
  double tolerance;

  torch::TensorOptions options() const { return torch::TensorOptions(device).dtype(dtype); }
};

inline std::ostream& operator<<(std::ostream& stream, const DeviceCase& c) {
  return stream << c.name;
}

/// Why there are no tests on a device, or nothing where there are.
inline const char* missing(torch::DeviceType device) {
  if (device == torch::kCUDA && !torch::cuda::is_available()) {
    return "no CUDA device: torch::cuda::is_available() is false";
  }
  if (device == torch::kPrivateUse1 && !has_pretend_device()) {
    return "no pretend device beside a CUDA device";
  }
  return nullptr;
}

inline std::vector<DeviceCase> cases_on(torch::DeviceType device) {
  return {{"Float64", device, torch::kDouble, 1e-12},
          {"Float32", device, torch::kFloat, 1e-5},
          {"BFloat16", device, torch::kBFloat16, 4e-2},
          {"Float16", device, torch::kHalf, 1e-2}};
}

/// The base of a test that runs on every device and in every dtype:
///
///   class MultiHeadAttentionOn : public DeviceTest {};
///   ATTEND_INSTANTIATE_ON_DEVICES(MultiHeadAttentionOn);
///   TEST_P(MultiHeadAttentionOn, AgreesWithTheOracle) { ... options() ... tolerance() ... }
class DeviceTest : public testing::TestWithParam<DeviceCase> {
 protected:
  void SetUp() override {
    if (const auto* why = missing(GetParam().device)) GTEST_SKIP() << why;
  }

  torch::TensorOptions options() const { return GetParam().options(); }
  double tolerance() const { return GetParam().tolerance; }

  /// Standard normal values, rounded to the case's dtype.
  torch::Tensor randn(at::IntArrayRef sizes) const {
    return torch::randn(sizes, torch::kDouble).to(options());
  }

  /// A module on the case's device and in its dtype, not in training.
  template <typename Module>
  Module placed(Module module) const {
    module->to(GetParam().device, GetParam().dtype);
    module->eval();
    return module;
  }
};

inline std::string case_name(const testing::TestParamInfo<DeviceCase>& info) {
  return info.param.name;
}

}  // namespace attend::testing_support

/// The instances are Cpu/Suite.Test/Float32, Pretend/Suite.Test/Float32, Cuda/Suite.Test/Float32, ...
#define ATTEND_INSTANTIATE_ON(name, suite, device)                                           \
  INSTANTIATE_TEST_SUITE_P(name, suite,                                                      \
                           ::testing::ValuesIn(::attend::testing_support::cases_on(device)), \
                           ::attend::testing_support::case_name)
#define ATTEND_INSTANTIATE_ON_DEVICES(suite)                  \
  ATTEND_INSTANTIATE_ON(Cpu, suite, torch::kCPU);             \
  ATTEND_INSTANTIATE_ON(Pretend, suite, torch::kPrivateUse1); \
  ATTEND_INSTANTIATE_ON(Cuda, suite, torch::kCUDA)
