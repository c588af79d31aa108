// That the pretend device shows what a GPU would.
#include "support/pretend_device.h"

#include <gtest/gtest.h>

#include "support/devices.h"
#include "support/tensor_assert.h"

namespace attend::pretend_device_test {
namespace {

using testing_support::transfers_of;

class PretendDevice : public testing::Test {
 protected:
  void SetUp() override {
    if (const auto* why = testing_support::missing(torch::kPrivateUse1)) GTEST_SKIP() << why;
  }
  const torch::TensorOptions there_ =
      torch::TensorOptions(torch::kPrivateUse1).dtype(torch::kFloat);
};

using PretendDeviceDeathTest = PretendDevice;

TEST_F(PretendDeviceDeathTest, AHostThatReadsItsMemoryEnds) {
  const auto x = torch::ones({3}, there_);
  const volatile float* const first = x.const_data_ptr<float>();
  EXPECT_DEATH((void)*first, "");
}

TEST_F(PretendDevice, AnOperationTakesTensorsOfOneDevice) {
  const auto x = torch::ones({3, 4}, there_);
  EXPECT_THROW(x.index_select(0, torch::tensor({1})), c10::Error);
  EXPECT_THROW(torch::cat({x, torch::ones({3, 4})}), c10::Error);
  EXPECT_THROW(x.matmul(torch::ones({4, 2})), c10::Error);
  EXPECT_TENSOR_EQUAL(x * torch::tensor(2.0F),
                      torch::full({3, 4}, 2.0F));  // a number may come along
}

TEST_F(PretendDevice, MemoryThatWasNotWrittenIsNaN) {
  EXPECT_TRUE(torch::empty({5}, there_).isnan().all().item<bool>());
  EXPECT_TRUE(torch::empty({5}, there_.dtype(torch::kBFloat16)).isnan().all().item<bool>());
}

TEST_F(PretendDevice, ViewsShareMemoryAndWritesInPlaceStay) {
  for (const int64_t size : {4, 300}) {  // copied for a kernel, and lent to it
    const auto x = torch::zeros({size, size}, there_);
    x.t().narrow(0, 1, 1).add_(2.0);
    x.select(0, 0).fill_(1.0);
    auto expected = torch::zeros({size, size});
    expected.select(1, 1).fill_(2.0);
    expected.select(0, 0).fill_(1.0);
    EXPECT_TENSOR_EQUAL(x, expected);
    auto sum = torch::empty({0}, there_);
    at::add_out(sum, x, x.t());
    EXPECT_TENSOR_EQUAL(sum, expected + expected.t());
  }
}

TEST_F(PretendDevice, RandomNumbersAreItsOwn) {
  torch::manual_seed(3);
  const auto first = torch::randn({4}, there_), on_cpu = torch::randn({4});
  torch::manual_seed(3);
  torch::randn({4});  // draws nothing of the device's
  EXPECT_TENSOR_EQUAL(torch::randn({4}, there_), first);
  EXPECT_TENSOR_EQUAL(first, on_cpu);  // the same algorithm and seed
}

TEST_F(PretendDevice, CopiesAndReadsAreCountedButThoseOfKernels) {
  const auto there = torch::randn({6, 6}, there_).requires_grad_();
  const auto nothing = transfers_of([&] { there.matmul(there).softmax(1).sum().backward(); });
  EXPECT_EQ(nothing.to_device + nothing.waits(), 0);
  const auto x = there.detach();
  EXPECT_EQ(transfers_of([&] { torch::ones({6}).to(x.device()); }).to_device, 1);
  const auto copied = transfers_of([&] { x.cpu(); });
  EXPECT_EQ(copied.to_host, 1);
  EXPECT_EQ(copied.bytes_to_host, 6 * 6 * 4);
  EXPECT_EQ(transfers_of([&] { (void)x.sum().item<float>(); }).reads, 1);
  EXPECT_EQ(transfers_of([&] { (x > 0).nonzero(); }).reads, 1);
  EXPECT_EQ(transfers_of([&] { (void)x.isfinite().all().item<bool>(); }).waits(), 1);
  EXPECT_EQ(transfers_of([&] { x.copy_(x.t().clone()); }).waits(), 0);
}

}  // namespace
}  // namespace attend::pretend_device_test
