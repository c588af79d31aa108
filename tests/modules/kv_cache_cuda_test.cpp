// A cached step captured in a CUDA graph. Compiled wherever there is a CUDA toolkit, run where there
// is a device.
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <gtest/gtest.h>

#include "attend/modules/causal_self_attention.h"
#include "support/module_checks.h"
#include "support/tensor_assert.h"

namespace attend::kv_cache_cuda_test {
namespace {

constexpr int64_t kB = 2, kE = 32, kH = 4, kT = 8;

// Captured once, replayed for every position: with a fixed cache, and with a ring that forgets.
TEST(CudaGraph, ACapturedStepEqualsTheFullPass) {
  if (!torch::cuda::is_available()) {
    GTEST_SKIP() << "no CUDA device: torch::cuda::is_available() is false";
  }
  torch::manual_seed(3);
  const torch::NoGradGuard no_grad;
  const auto options = torch::TensorOptions().device(torch::kCUDA);
  CausalSelfAttention attention(CausalSelfAttentionOptions(
      MultiHeadAttentionOptions(kE, kH).num_kv_heads(2).rotary(RotaryOptions{}).alibi(true), kT));
  testing_support::randomise(*attention);
  attention->to(torch::kCUDA);
  attention->eval();
  const auto x = torch::randn({kB, kT, kE}, options);
  for (const bool is_ring : {false, true}) {
    const int64_t capacity = is_ring ? 3 : kT;
    auto cache = is_ring ? KeyValueCache::ring(capacity) : KeyValueCache::fixed(capacity);
    const auto full =
        attention(x, AttentionMask::window(capacity - 1, AttentionMask::Band::kAll)).output;
    auto input = torch::zeros({kB, 1, kE}, options);
    const auto stream = c10::cuda::getStreamFromPool();
    const c10::cuda::CUDAStreamGuard guard(stream);
    attention->step(input, cache);  // allocates; graphs want all libraries to be warm
    cache.truncate(0);
    stream.synchronize();
    at::cuda::CUDAGraph graph;
    graph.capture_begin();
    const auto output = attention->step(input, cache).output;
    graph.capture_end();
    for (int64_t t = 0; t < kT; ++t) {
      input.copy_(x.narrow(1, t, 1));
      graph.replay();
      EXPECT_TENSOR_NEAR(output, full.narrow(1, t, 1), 1e-4) << "position " << t;
    }
  }
}

}  // namespace
}  // namespace attend::kv_cache_cuda_test
