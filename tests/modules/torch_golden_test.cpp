// The numbers of Python's torch where torch::nn of C++ is wrong:
// tests/golden/make_torch_fixtures.py.
#include <gtest/gtest.h>
#include <torch/torch.h>

#include "attend/functional/attention.h"
#include "attend/functional/mask.h"
#include "attend/modules/encoder_decoder_attention.h"
#include "attend/modules/torch_interop.h"
#include "support/golden.h"
#include "support/tensor_assert.h"

namespace attend::torch_golden_test {
namespace {

constexpr int64_t kE = 8, kH = 2;
constexpr double kTolerance = 1e-12;

using Tensors = std::map<std::string, torch::Tensor>;

Tensors golden(const std::string& name) {
  return testing_support::load_golden("torch_attention", name);
}

torch::Tensor leaf(const Tensors& tensors, const std::string& name) {
  return tensors.at(name).clone().requires_grad_();
}

void backward(const torch::Tensor& output) {
  const auto weights = torch::arange(1, output.numel() + 1, torch::kDouble).cos();
  (output * weights.view(output.sizes())).sum().backward();
}

// Fills a module of torch::nn of C++ with the tensors whose names start with `prefix`.
template <typename Module>
Module filled(Module module, const Tensors& tensors, const std::string& prefix) {
  const torch::NoGradGuard no_grad;
  module->to(torch::kDouble);
  for (auto& parameter : module->named_parameters()) {
    parameter.value().copy_(tensors.at(prefix + parameter.key()));
  }
  return module;
}

void expect_attention(const Tensors& tensors, const AttentionMask& mask,
                      const torch::nn::MultiheadAttentionOptions& options) {
  auto attention =
      from_torch(filled(torch::nn::MultiheadAttention(options), tensors, "parameter."));
  const auto query = leaf(tensors, "query"), key = leaf(tensors, "key");
  const auto value = leaf(tensors, "value");
  const auto [output, weights] = attention(query, key, value, mask, WeightsRequest::kPerHead);
  EXPECT_TENSOR_NEAR(output, tensors.at("output"), kTolerance);
  EXPECT_TENSOR_NEAR(weights, tensors.at("weights"), kTolerance);
  backward(output);
  EXPECT_TENSOR_NEAR(query.grad(), tensors.at("grad.query"), kTolerance);
  EXPECT_TENSOR_NEAR(key.grad(), tensors.at("grad.key"), kTolerance);
  EXPECT_TENSOR_NEAR(value.grad(), tensors.at("grad.value"), kTolerance);
  const auto expected =
      from_torch(filled(torch::nn::MultiheadAttention(options), tensors, "grad."));
  const auto gradients = expected->named_parameters();
  for (const auto& parameter : attention->named_parameters()) {
    SCOPED_TRACE(parameter.key());
    EXPECT_TENSOR_NEAR(parameter.value().grad(), gradients[parameter.key()], kTolerance);
  }
}

TEST(TorchGolden, MultiheadAttentionWithBoolMasks) {
  const auto tensors = golden("bool_masks");
  expect_attention(tensors,
                   functional::mask_from_torch(tensors.at("attn_mask")) &
                       functional::padding_from_torch(tensors.at("key_padding_mask")),
                   {kE, kH});
}

TEST(TorchGolden, MultiheadAttentionWithABiasAndAZeroAmongKeysAndValues) {
  expect_attention(
      testing_support::load_golden("attention_variants", "bias_and_zero"), {},
      torch::nn::MultiheadAttentionOptions(kE, kH).add_bias_kv(true).add_zero_attn(true));
}

TEST(TorchGolden, MultiheadAttentionWithOtherKeyAndValueSizes) {
  const auto tensors = golden("other_sizes");
  expect_attention(tensors, functional::mask_from_torch(tensors.at("attn_mask")),
                   torch::nn::MultiheadAttentionOptions(kE, kH).kdim(6).vdim(7));
}

TEST(TorchGolden, MultiheadAttentionWithAMaskPerHead) {
  const auto tensors = golden("mask_per_head");
  expect_attention(tensors, functional::mask_from_torch(tensors.at("attn_mask"), kH), {kE, kH});
}

TEST(TorchGolden, ScaledDotProductAttentionThatIsCausalAtTheLowerRight) {
  const auto tensors = golden("causal_lower_right");
  const auto query = leaf(tensors, "query"), key = leaf(tensors, "key");
  const auto value = leaf(tensors, "value");
  const auto output =
      functional::scaled_dot_product_attention(query, key, value, AttentionMask::causal()).output;
  EXPECT_TENSOR_NEAR(output, tensors.at("output"), kTolerance);
  backward(output);
  EXPECT_TENSOR_NEAR(query.grad(), tensors.at("grad.query"), kTolerance);
  EXPECT_TENSOR_NEAR(key.grad(), tensors.at("grad.key"), kTolerance);
  EXPECT_TENSOR_NEAR(value.grad(), tensors.at("grad.value"), kTolerance);
}

// torch::nn of C++ has no pre-norm, so the weights go through a post-norm layer of the same sizes.
TransformerDecoderLayer decoder_layer(const Tensors& tensors, const std::string& prefix) {
  const auto options = torch::nn::TransformerDecoderLayerOptions(kE, kH).dim_feedforward(6);
  const auto theirs = filled(torch::nn::TransformerDecoderLayer(options), tensors, prefix);
  const auto post_norm = from_torch(theirs);
  TransformerDecoderLayer result(TransformerLayerOptions(kE, kH)
                                     .feed_forward_dim(6)
                                     .dropout(0.0)
                                     .activation(Activation::kGelu)
                                     .norm_eps(1e-3)
                                     .norm_order(NormOrder::kPre));
  result->to(torch::kDouble);
  const torch::NoGradGuard no_grad;
  const auto weights = post_norm->named_parameters();
  for (auto& parameter : result->named_parameters()) {
    parameter.value().copy_(weights[parameter.key()]);
  }
  return result;
}

TEST(TorchGolden, TransformerDecoderLayerWithNormFirst) {
  const auto tensors = golden("decoder_layer_norm_first");
  auto layer = decoder_layer(tensors, "parameter.");
  const auto target = leaf(tensors, "target"), memory = leaf(tensors, "memory");
  const auto output = layer(target, memory, AttentionMask(),
                            functional::padding_from_torch(tensors.at("memory_key_padding_mask")))
                          .output;
  EXPECT_TENSOR_NEAR(output, tensors.at("output"), kTolerance);
  backward(output);
  EXPECT_TENSOR_NEAR(target.grad(), tensors.at("grad.target"), 1e-11);
  EXPECT_TENSOR_NEAR(memory.grad(), tensors.at("grad.memory"), 1e-11);
  const auto expected = decoder_layer(tensors, "grad.");
  const auto gradients = expected->named_parameters();
  for (const auto& parameter : layer->named_parameters()) {
    SCOPED_TRACE(parameter.key());
    EXPECT_TENSOR_NEAR(parameter.value().grad(), gradients[parameter.key()], 1e-11);
  }
}

}  // namespace
}  // namespace attend::torch_golden_test
