// The kernels of libattend_cuda.so themselves: that the library loads, anywhere, and what it computes where
// there is a GPU.
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <string>
#include <string_view>

#include "attend/functional/attention.h"
#include "kernels/cuda/additive_attention.h"
#include "support/tensor_assert.h"

namespace attend::additive_on_cuda_test {
namespace {

using torch::autograd::variable_list;

TEST(KernelLibrary, LoadsAndSaysThatThereIsNoDevice) {
  auto* library = dlopen(ATTEND_TEST_CUDA_LIBRARY, RTLD_NOW);
  ASSERT_NE(library, nullptr) << dlerror();
  auto* get = reinterpret_cast<kernels::cuda::GetAdditiveKernels>(
      dlsym(library, kernels::cuda::kGetAdditiveKernels));
  ASSERT_NE(get, nullptr);
  const auto kernels = get();
  EXPECT_FALSE(kernels.is_captured(nullptr));
  if (torch::cuda::is_available()) return;
  kernels::AdditiveAttention<float> attention{};
  attention.batch = attention.heads = attention.target = attention.source = 1;
  attention.hidden_dim = attention.value_dim = 1;
  EXPECT_NE(kernels.forward(attention, {}, false, nullptr), nullptr);
  EXPECT_NE(kernels.backward(attention, {}, {}, {}, false, nullptr), nullptr);
}

struct OnCuda {
  ScoreFunction function;
  int64_t target;
  double dropout_p;
};
std::string name_of(const testing::TestParamInfo<OnCuda>& info) {
  return "Function" + std::to_string(static_cast<int>(info.param.function)) + "T" +
         std::to_string(info.param.target) + (info.param.dropout_p > 0.0 ? "Dropout" : "");
}

class CudaAdditive : public testing::TestWithParam<OnCuda> {
 protected:
  static constexpr int64_t kB = 2, kH = 3, kS = 300, kA = 70, kD = 40;

  void SetUp() override {
    if (!torch::cuda::is_available()) GTEST_SKIP() << "no CUDA device";
    const char* given = std::getenv("ATTEND_CUDA_ADDITIVE");  // NOLINT(concurrency-mt-unsafe)
    if (given == nullptr || std::string_view(given) != "1") {
      GTEST_SKIP() << "not run: no ATTEND_CUDA_ADDITIVE=1";
    }
  }

  // The output, the scores and all gradients, of the same numbers on a device.
  static variable_list results(torch::Device device, torch::Dtype dtype) {
    torch::manual_seed(11);
    const auto make = [&](at::IntArrayRef sizes) {
      return torch::randn(sizes).to(device, dtype).requires_grad_();
    };
    const auto target = GetParam().target;
    const variable_list leaves{
        make({kB, kH, target, kA}), make({kB, kH, kS, kA}),    make({kH, kA}),
        make({kB, kH, kS, kD}),     make({1, kH, target, kS}), make({kB, kH, kS})};
    const auto lengths = torch::tensor({kS, kS - 150}).to(device);
    const auto mask = AttentionMask::window(200, AttentionMask::Band::kAll) &
                      AttentionMask::key_lengths(lengths) & AttentionMask(leaves[4]);
    const auto request =
        WeightsRequest(WeightsRequest::kPerHead).values(WeightsRequest::Values::kScores);
    const auto [output, scores] =
        functional::additive_attention(leaves[0], leaves[1], leaves[2], leaves[3], mask, request,
                                       {.dropout_p = GetParam().dropout_p,
                                        .scale = 0.3,
                                        .score_function = GetParam().function,
                                        .score_clip = 5.0,
                                        .key_term = leaves[5]});
    const auto of_output = torch::randn(output.sizes()).to(device, dtype);
    const auto of_scores = (0.1 * torch::randn(scores.sizes())).to(device, dtype);
    const auto seen_scores = scores.masked_fill(scores.eq(-INFINITY), 0.0);
    variable_list all{output, seen_scores};
    const auto gradients =
        torch::autograd::grad({output, seen_scores}, leaves, {of_output, of_scores});
    all.insert(all.end(), gradients.begin(), gradients.end());
    return all;
  }
};

TEST_P(CudaAdditive, AgreesWithTheCpuInFloat64) {
  const auto expected = results(torch::kCPU, torch::kDouble);
  const auto got = results(torch::kCUDA, torch::kFloat);
  const auto again = results(torch::kCUDA, torch::kFloat);
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_TENSOR_NEAR(got[i], expected[i], 1e-4) << "result " << i;
    EXPECT_TENSOR_EQUAL(got[i], again[i]) << "result " << i;
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, CudaAdditive,
    testing::Values(OnCuda{ScoreFunction::kTanh, 1, 0.0}, OnCuda{ScoreFunction::kTanh, 100, 0.0},
                    OnCuda{ScoreFunction::kTanh, 100, 0.2}, OnCuda{ScoreFunction::kTanh, 3, 0.2},
                    OnCuda{ScoreFunction::kLeakyRelu, 100, 0.0},
                    OnCuda{ScoreFunction::kRelu, 100, 0.0}, OnCuda{ScoreFunction::kSilu, 100, 0.0},
                    OnCuda{ScoreFunction::kGelu, 100, 0.0}, OnCuda{ScoreFunction::kGelu, 1, 0.0}),
    name_of);

}  // namespace
}  // namespace attend::additive_on_cuda_test
