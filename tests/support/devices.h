#pragma once

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <ostream>
#include <string>
#include <vector>

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
    if (GetParam().device == torch::kCUDA && !torch::cuda::is_available()) {
      GTEST_SKIP() << "no CUDA device: torch::cuda::is_available() is false";
    }
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

/// The instances are Cpu/Suite.Test/Float32, Cuda/Suite.Test/Float32, ...
#define ATTEND_INSTANTIATE_ON_DEVICES(suite)                                                       \
  INSTANTIATE_TEST_SUITE_P(Cpu, suite,                                                             \
                           ::testing::ValuesIn(::attend::testing_support::cases_on(torch::kCPU)),  \
                           ::attend::testing_support::case_name);                                  \
  INSTANTIATE_TEST_SUITE_P(Cuda, suite,                                                            \
                           ::testing::ValuesIn(::attend::testing_support::cases_on(torch::kCUDA)), \
                           ::attend::testing_support::case_name)
