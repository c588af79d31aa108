// attend's modules in LibTorch's type-erased holders, with their default arguments left out.
#include <gtest/gtest.h>

#include "attend/attend.h"
#include "support/tensor_assert.h"

namespace attend::any_module_test {
namespace {

constexpr int64_t kB = 2, kT = 3, kS = 5, kE = 8, kM = 6;

torch::Tensor x() { return torch::randn({kB, kT, kE}); }
torch::Tensor memory() { return torch::randn({kB, kS, kM}); }

// A module in an AnyModule gives the bits that it gives by itself.
template <typename Result, typename Module, typename... Inputs>
void expect_the_same(Module module, const Inputs&... inputs) {
  module->eval();
  torch::nn::AnyModule any(module);
  const Result from_any = any.forward<Result>(inputs...);
  const Result direct = module(inputs...);
  if constexpr (std::is_same_v<Result, torch::Tensor>) {
    EXPECT_TENSOR_EQUAL(from_any, direct);
  } else {
    EXPECT_TENSOR_EQUAL(from_any.output, direct.output);
  }
}

TEST(AnyModule, HoldsEveryModule) {
  const auto a = x();
  const auto m = memory();
  expect_the_same<torch::Tensor>(FeedForward(kE, 7), a);
  expect_the_same<torch::Tensor>(PositionalEncoding(kE, 9), a);
  expect_the_same<AttentionOutput>(BasicAttention(kE, kM, 4), a, m, m);
  expect_the_same<AttentionOutput>(ScaledDotProductAttention(), a, a, a);
  expect_the_same<AttentionOutput>(SelfAttention(kE), a);
  expect_the_same<AttentionOutput>(CrossAttention(kE, kM), a, m);
  expect_the_same<AttentionOutput>(MultiHeadAttention(kE, 4), a, a, a);
  expect_the_same<AttentionOutput>(MultiHeadSelfAttention(kE, 4), a);
  expect_the_same<AttentionOutput>(MultiHeadCrossAttention(kE, kM, kE, 4), a, m);
  expect_the_same<AttentionOutput>(CausalSelfAttention(kE, 4, 9), a);
  expect_the_same<DecoderLayerOutput>(EncoderDecoderAttention(kE, 4), a, a);
  expect_the_same<AttentionOutput>(TransformerEncoderLayer(kE, 4), a);
}

TEST(AnyModule, TakesAMaskAndARequest) {
  const auto a = x();
  auto module = MultiHeadSelfAttention(kE, 4);
  torch::nn::AnyModule any(module);
  const auto got = any.forward<AttentionOutput>(a, AttentionMask::causal(),
                                                WeightsRequest(WeightsRequest::kPerHead));
  const auto wanted = module(a, AttentionMask::causal(), WeightsRequest::kPerHead);
  EXPECT_TENSOR_EQUAL(got.output, wanted.output);
  EXPECT_TENSOR_EQUAL(got.weights, wanted.weights);
}

TEST(Sequential, ChainsTheModulesFromTensorToTensor) {
  const auto a = x();
  auto positions = PositionalEncoding(kE, 9);
  auto block = FeedForward(kE, 7);
  torch::nn::Sequential chain(positions, torch::nn::LayerNorm(torch::nn::LayerNormOptions({kE})),
                              block);
  EXPECT_EQ(chain->forward(a).sizes(), a.sizes());
  EXPECT_TENSOR_EQUAL(torch::nn::Sequential(positions, block)->forward(a), block(positions(a)));
}

}  // namespace
}  // namespace attend::any_module_test
