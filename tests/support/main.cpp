#include <attend/cuda.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <filesystem>
#include <iostream>

#include "support/default_device.h"
#include "support/devices.h"
#include "support/pretend_device.h"

namespace {

// Every test starts from the same random state, whichever tests ran before it.
class SeedEachTest : public testing::EmptyTestEventListener {
  void OnTestStart(const testing::TestInfo& /*info*/) override { torch::manual_seed(1); }
};

}  // namespace

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  testing::UnitTest::GetInstance()->listeners().Append(new SeedEachTest);
  if (std::filesystem::exists("/dev/nvidiactl")) attend::load_cuda();
  torch::set_num_threads(1);  // tests are small, and CTest runs several programs at once
  attend::testing_support::register_pretend_device();
  const auto device = attend::testing_support::test_device();
  if (const auto* why = attend::testing_support::missing(device.type())) {
    std::cout << "not run: " << why << "\n";
    return 0;
  }
  attend::testing_support::make_tensors_on(device);
  return RUN_ALL_TESTS();
}
