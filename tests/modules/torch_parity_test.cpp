// The same numbers as torch::nn's own attention, where that class is right: sequence first, float
// attn_mask, bool key_padding_mask, no fully masked row, dropout 0.
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <limits>
#include <tuple>

#include "attend/functional/mask.h"
#include "attend/modules/torch_interop.h"
#include "support/module_checks.h"
#include "support/tensor_assert.h"

namespace attend::torch_parity_test {
namespace {

using testing_support::randomise;

constexpr int64_t kB = 2, kL = 8, kS = 6, kE = 64, kH = 8, kF = 32;
constexpr double kInf = std::numeric_limits<double>::infinity();

struct Precision {
  const char* name;
  torch::Dtype dtype;
  double tolerance;
};

class TorchParity : public testing::TestWithParam<Precision> {
 protected:
  double tolerance() const { return GetParam().tolerance; }

  torch::Tensor leaf(at::IntArrayRef sizes) const {
    return torch::randn(sizes, torch::kDouble).to(GetParam().dtype).requires_grad_();
  }

  // The same values once more, with gradients of its own.
  static torch::Tensor twin(const torch::Tensor& x) { return x.detach().clone().requires_grad_(); }

  torch::Tensor weights_like(const torch::Tensor& x) const {
    return torch::arange(1, x.numel() + 1, torch::kDouble)
        .cos()
        .view(x.sizes())
        .to(x.scalar_type());
  }

  // -infinity above the diagonal.
  torch::Tensor causal_bias(int64_t length) const {
    return torch::full({length, length}, -kInf, torch::kDouble).triu(1).to(GetParam().dtype);
  }

  // true = ignore: the last keys of the second sentence.
  static torch::Tensor ignored_keys(int64_t length) {
    auto ignore = torch::zeros({kB, length}, torch::kBool);
    ignore[1].narrow(0, length - 2, 2).fill_(true);
    return ignore;
  }

  template <typename Module>
  Module prepared(Module module) const {
    randomise(*module);
    // About 1 / sqrt(E): larger weights saturate the softmax, and float32 gradients lose digits.
    const torch::NoGradGuard no_grad;
    for (auto& parameter : module->parameters()) parameter.mul_(0.3);
    module->to(GetParam().dtype);
    return module;
  }

  // Puts the gradients in the place of the weights and converts those, which gives every gradient
  // the name that it has in `ours`.
  template <typename Ours, typename Theirs>
  void expect_same_gradients(const Ours& ours, const Theirs& theirs, const Ours& converter) const {
    {
      const torch::NoGradGuard no_grad;
      for (auto& parameter : theirs->parameters()) {
        ASSERT_TRUE(parameter.grad().defined());
        parameter.copy_(parameter.grad());
      }
    }
    auto converted = converter;
    copy_weights(theirs, converted);
    const auto expected = converted->named_parameters();
    for (const auto& parameter : ours->named_parameters()) {
      SCOPED_TRACE(parameter.key());
      EXPECT_TENSOR_NEAR(parameter.value().grad(), expected[parameter.key()], tolerance());
    }
  }
};

INSTANTIATE_TEST_SUITE_P(Cpu, TorchParity,
                         testing::Values(Precision{"Float32", torch::kFloat, 1e-5},
                                         Precision{"Float64", torch::kDouble, 1e-10}),
                         [](const auto& precision) { return precision.param.name; });

// ---- MultiheadAttention ----

struct MaskPair {
  const char* name;
  AttentionMask ours;
  torch::Tensor attn_mask, key_padding_mask;
};

TEST_P(TorchParity, MultiHeadAttention) {
  const auto float_mask = torch::randn({kL, kS}, torch::kDouble).to(GetParam().dtype);
  const auto ignore = ignored_keys(kS);
  const std::vector<MaskPair> masks = {
      {"none", {}, {}, {}},
      {"float mask", float_mask, float_mask, {}},
      {"padding", functional::padding_from_torch(ignore), {}, ignore},
      {"both", functional::mask_from_torch(float_mask) & functional::padding_from_torch(ignore),
       float_mask, ignore}};
  for (const auto& mask : masks) {
    for (const bool bias : {true, false}) {
      SCOPED_TRACE(testing::Message() << mask.name << ", bias " << bias);
      const auto theirs = prepared(
          torch::nn::MultiheadAttention(torch::nn::MultiheadAttentionOptions(kE, kH).bias(bias)));
      auto ours = from_torch(theirs);
      const auto query = leaf({kB, kL, kE}), key = leaf({kB, kS, kE}), value = leaf({kB, kS, kE});
      const auto query2 = twin(query), key2 = twin(key), value2 = twin(value);
      const auto result = ours(query, key, value, mask.ours, WeightsRequest::kPerHead);
      auto module = theirs;
      const auto [output, weights] =
          module->forward(query2.transpose(0, 1), key2.transpose(0, 1), value2.transpose(0, 1),
                          mask.key_padding_mask, /*need_weights=*/true, mask.attn_mask,
                          /*average_attn_weights=*/false);
      EXPECT_TENSOR_NEAR(result.output, output.transpose(0, 1), tolerance());
      EXPECT_TENSOR_NEAR(result.weights, weights, tolerance());
      const auto mean = ours(query, key, value, mask.ours, WeightsRequest::kMean).weights;
      EXPECT_TENSOR_NEAR(mean, weights.mean(1), tolerance());

      ((result.output * weights_like(result.output)).sum() +
       (result.weights * weights_like(result.weights)).sum())
          .backward();
      ((output.transpose(0, 1) * weights_like(result.output)).sum() +
       (weights * weights_like(result.weights)).sum())
          .backward();
      EXPECT_TENSOR_NEAR(query.grad(), query2.grad(), tolerance());
      EXPECT_TENSOR_NEAR(key.grad(), key2.grad(), tolerance());
      EXPECT_TENSOR_NEAR(value.grad(), value2.grad(), tolerance());
      expect_same_gradients(ours, theirs, from_torch(theirs));
    }
  }
}

TEST_P(TorchParity, MultiHeadSelfAttention) {
  const auto ignore = ignored_keys(kL);
  const std::vector<MaskPair> masks = {
      {"none", {}, {}, {}},
      {"causal", AttentionMask::causal(), causal_bias(kL), {}},
      {"padding", functional::padding_from_torch(ignore), {}, ignore},
      {"causal and padding", AttentionMask::causal() & functional::padding_from_torch(ignore),
       causal_bias(kL), ignore}};
  for (const auto& mask : masks) {
    SCOPED_TRACE(mask.name);
    auto theirs = prepared(torch::nn::MultiheadAttention(kE, kH));
    auto ours = self_attention_from_torch(theirs);
    const auto x = leaf({kB, kL, kE}), x2 = twin(x);
    const auto result = ours(x, mask.ours, WeightsRequest::kPerHead);
    const auto sequence_first = x2.transpose(0, 1);
    const auto [output, weights] =
        theirs->forward(sequence_first, sequence_first, sequence_first, mask.key_padding_mask, true,
                        mask.attn_mask, false);
    EXPECT_TENSOR_NEAR(result.output, output.transpose(0, 1), tolerance());
    EXPECT_TENSOR_NEAR(result.weights, weights, tolerance());
    ((result.output * weights_like(result.output)).sum() +
     (result.weights * weights_like(result.weights)).sum())
        .backward();
    ((output.transpose(0, 1) * weights_like(result.output)).sum() +
     (weights * weights_like(result.weights)).sum())
        .backward();
    EXPECT_TENSOR_NEAR(x.grad(), x2.grad(), tolerance());
    expect_same_gradients(ours, theirs, self_attention_from_torch(theirs));
  }
}

TEST_P(TorchParity, CausalSelfAttention) {
  auto theirs = prepared(torch::nn::MultiheadAttention(kE, kH));
  CausalSelfAttention ours(kE, kH, kL), converter(kE, kH, kL);
  ours->to(GetParam().dtype);
  converter->to(GetParam().dtype);
  copy_weights(theirs, ours);
  const auto x = leaf({kB, kL, kE}), x2 = twin(x);
  const auto result = ours(x, AttentionMask(), WeightsRequest::kPerHead);
  const auto sequence_first = x2.transpose(0, 1);
  const auto [output, weights] = theirs->forward(sequence_first, sequence_first, sequence_first, {},
                                                 true, causal_bias(kL), false);
  EXPECT_TENSOR_NEAR(result.output, output.transpose(0, 1), tolerance());
  EXPECT_TENSOR_NEAR(result.weights, weights, tolerance());
  (result.output * weights_like(result.output)).sum().backward();
  (output.transpose(0, 1) * weights_like(result.output)).sum().backward();
  EXPECT_TENSOR_NEAR(x.grad(), x2.grad(), tolerance());
  expect_same_gradients(ours, theirs, converter);
}

TEST_P(TorchParity, MultiHeadCrossAttentionWithAnotherKeySize) {
  constexpr int64_t kKeyDim = 40;
  auto theirs = prepared(torch::nn::MultiheadAttention(
      torch::nn::MultiheadAttentionOptions(kE, kH).kdim(kKeyDim).vdim(kKeyDim)));
  MultiHeadCrossAttention ours(kE, kKeyDim, kE, kH), converter(kE, kKeyDim, kE, kH);
  ours->to(GetParam().dtype);
  converter->to(GetParam().dtype);
  copy_weights(theirs, ours);
  const auto x = leaf({kB, kL, kE}), x2 = twin(x);
  const auto memory = leaf({kB, kS, kKeyDim}), memory2 = twin(memory);
  const auto result = ours(x, memory, AttentionMask(), WeightsRequest::kPerHead);
  const auto [output, weights] = theirs->forward(x2.transpose(0, 1), memory2.transpose(0, 1),
                                                 memory2.transpose(0, 1), {}, true, {}, false);
  EXPECT_TENSOR_NEAR(result.output, output.transpose(0, 1), tolerance());
  EXPECT_TENSOR_NEAR(result.weights, weights, tolerance());
  (result.output * weights_like(result.output)).sum().backward();
  (output.transpose(0, 1) * weights_like(result.output)).sum().backward();
  EXPECT_TENSOR_NEAR(x.grad(), x2.grad(), tolerance());
  EXPECT_TENSOR_NEAR(memory.grad(), memory2.grad(), tolerance());
  expect_same_gradients(ours, theirs, converter);
}

// ---- Transformer ----

std::vector<torch::nn::activation_t> activations() { return {torch::kReLU, torch::kGELU}; }

TEST_P(TorchParity, TransformerEncoder) {
  for (const auto& activation : activations()) {
    for (const bool final_norm : {false, true}) {
      auto options =
          torch::nn::TransformerEncoderOptions(torch::nn::TransformerEncoderLayerOptions(kE, kH)
                                                   .dim_feedforward(kF)
                                                   .dropout(0.0)
                                                   .activation(activation),
                                               2);
      if (final_norm) {
        options.norm(torch::nn::AnyModule(torch::nn::LayerNorm(torch::nn::LayerNormOptions({kE}))));
      }
      auto theirs = prepared(torch::nn::TransformerEncoder(options));
      auto ours = from_torch(theirs);
      const auto ignore = ignored_keys(kL);
      const auto x = leaf({kB, kL, kE}), x2 = twin(x);
      const auto mask = AttentionMask::causal() & functional::padding_from_torch(ignore);
      const auto actual = ours(x, mask).output;
      const auto expected =
          theirs->forward(x2.transpose(0, 1), causal_bias(kL), ignore).transpose(0, 1);
      EXPECT_TENSOR_NEAR(actual, expected, tolerance());
      (actual * weights_like(actual)).sum().backward();
      (expected * weights_like(actual)).sum().backward();
      EXPECT_TENSOR_NEAR(x.grad(), x2.grad(), tolerance());
      expect_same_gradients(ours, theirs, from_torch(theirs));
    }
  }
}

TEST_P(TorchParity, TransformerDecoder) {
  for (const auto& activation : activations()) {
    for (const bool final_norm : {false, true}) {
      auto options =
          torch::nn::TransformerDecoderOptions(torch::nn::TransformerDecoderLayerOptions(kE, kH)
                                                   .dim_feedforward(kF)
                                                   .dropout(0.0)
                                                   .activation(activation),
                                               2);
      if (final_norm) {
        options.norm(torch::nn::AnyModule(torch::nn::LayerNorm(torch::nn::LayerNormOptions({kE}))));
      }
      auto theirs = prepared(torch::nn::TransformerDecoder(options));
      auto ours = from_torch(theirs);
      const auto target_ignore = ignored_keys(kL), memory_ignore = ignored_keys(kS);
      const auto target = leaf({kB, kL, kE}), target2 = twin(target);
      const auto memory = leaf({kB, kS, kE}), memory2 = twin(memory);
      const auto actual = ours(target, memory, functional::padding_from_torch(target_ignore),
                               functional::padding_from_torch(memory_ignore))
                              .output;
      const auto expected = theirs
                                ->forward(target2.transpose(0, 1), memory2.transpose(0, 1),
                                          causal_bias(kL), {}, target_ignore, memory_ignore)
                                .transpose(0, 1);
      EXPECT_TENSOR_NEAR(actual, expected, tolerance());
      (actual * weights_like(actual)).sum().backward();
      (expected * weights_like(actual)).sum().backward();
      EXPECT_TENSOR_NEAR(target.grad(), target2.grad(), tolerance());
      EXPECT_TENSOR_NEAR(memory.grad(), memory2.grad(), tolerance());
      expect_same_gradients(ours, theirs, from_torch(theirs));
    }
  }
}

TEST_P(TorchParity, Transformer) {
  for (const auto& activation : activations()) {
    auto theirs = prepared(torch::nn::Transformer(torch::nn::TransformerOptions(kE, kH, 2, 1)
                                                      .dim_feedforward(kF)
                                                      .dropout(0.0)
                                                      .activation(activation)));
    auto ours = from_torch(theirs);
    const auto source_ignore = ignored_keys(kS);
    const auto source = leaf({kB, kS, kE}), source2 = twin(source);
    const auto target = leaf({kB, kL, kE}), target2 = twin(target);
    const auto source_mask = functional::padding_from_torch(source_ignore);
    const auto memory = ours.encoder(source, source_mask).output;
    const auto actual = ours.decoder(target, memory, AttentionMask(), source_mask).output;
    const auto expected = theirs
                              ->forward(source2.transpose(0, 1), target2.transpose(0, 1), {},
                                        causal_bias(kL), {}, source_ignore, {}, source_ignore)
                              .transpose(0, 1);
    EXPECT_TENSOR_NEAR(actual, expected, tolerance());
    (actual * weights_like(actual)).sum().backward();
    (expected * weights_like(actual)).sum().backward();
    EXPECT_TENSOR_NEAR(source.grad(), source2.grad(), tolerance());
    EXPECT_TENSOR_NEAR(target.grad(), target2.grad(), tolerance());
    const auto parts = std::make_pair(
        torch::nn::TransformerEncoder(theirs->encoder.ptr<torch::nn::TransformerEncoderImpl>()),
        torch::nn::TransformerDecoder(theirs->decoder.ptr<torch::nn::TransformerDecoderImpl>()));
    expect_same_gradients(ours.encoder, parts.first, from_torch(parts.first));
    expect_same_gradients(ours.decoder, parts.second, from_torch(parts.second));
  }
}

}  // namespace
}  // namespace attend::torch_parity_test
