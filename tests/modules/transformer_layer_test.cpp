// Layers made of parts: what attention, feed-forward block and norm can do, layers of encoders and
// decoders can.
#include "attend/modules/transformer_layer.h"

#include <gtest/gtest.h>

#include <functional>
#include <sstream>
#include <string>
#include <vector>

#include "attend/modules/transformer_decoder.h"
#include "attend/modules/transformer_encoder.h"
#include "support/devices.h"
#include "support/module_checks.h"
#include "support/tensor_assert.h"
#include "support/variant_oracle.h"

namespace attend::transformer_layer_test {
namespace {

using oracle::VariantForm;
using testing_support::DeviceTest;
using testing_support::parameters_of;
using testing_support::randomise;

constexpr int64_t kB = 2, kT = 5, kS = 3, kE = 24, kH = 4, kF = 10;

// A variant of attention as options and as the numbers of the reference.
struct Variant {
  const char* name;
  bool by_position;  // refused in cross-attention
  std::function<void(MultiHeadAttentionOptions&)> set;
  std::function<void(VariantForm&)> form;
};

std::vector<Variant> variants() {
  using Options = MultiHeadAttentionOptions;
  return {
      {"num_kv_heads", false, [](Options& o) { o.num_kv_heads(2); },
       [](VariantForm& f) { f.num_kv_heads = 2; }},
      {"scale", false, [](Options& o) { o.scale(0.7); }, [](VariantForm& f) { f.scale = 0.7; }},
      {"rotary", true, [](Options& o) { o.rotary(RotaryOptions{}); },
       [](VariantForm& f) { f.rotary = true; }},
      {"alibi", true, [](Options& o) { o.alibi(true); }, [](VariantForm& f) { f.alibi = true; }},
      {"relative_bias", true,
       [](Options& o) {
         o.relative_bias(RelativeBiasOptions{8, 6, true});
       },
       [](VariantForm& f) {
         f.relative_buckets = 8;
         f.relative_max_distance = 6;
       }},
      {"window", true,
       [](Options& o) {
         o.window(AttentionWindow{1, 2});
       },
       [](VariantForm& f) {
         f.window_left = 1;
         f.window_right = 2;
       }},
      {"qk_norm", false, [](Options& o) { o.qk_norm(true); },
       [](VariantForm& f) { f.qk_norm = true; }},
      {"soft_cap", false, [](Options& o) { o.soft_cap(1.5); },
       [](VariantForm& f) { f.soft_cap = 1.5; }},
      {"sinks", false, [](Options& o) { o.sinks(true); }, [](VariantForm& f) { f.sinks = true; }},
      {"add_bias_kv", false, [](Options& o) { o.add_bias_kv(true); },
       [](VariantForm& f) { f.bias_kv = true; }},
      {"add_zero_attn", false, [](Options& o) { o.add_zero_attn(true); },
       [](VariantForm& f) { f.zero_attn = true; }}};
}

MultiHeadAttentionOptions options_of(const Variant& variant) {
  MultiHeadAttentionOptions options(kE, kH);
  variant.set(options);
  return options;
}

oracle::LayerAttention reference_of(const Variant& variant) {
  VariantForm form{};
  form.num_heads = form.num_kv_heads = kH;
  variant.form(form);
  return [form](const torch::Tensor& query, const torch::Tensor& memory,
                const oracle::Weights& weights, const oracle::Mask& mask) {
    return oracle::variant_attention(query, memory, memory, weights, form, mask).output;
  };
}

TransformerLayerOptions layer_of(const MultiHeadAttentionOptions& self_attention) {
  return TransformerLayerOptions(self_attention)
      .feed_forward_dim(kF)
      .dropout(0.0)
      .norm_order(NormOrder::kPre)
      .norm_eps(1e-3);
}

oracle::LayerForm form_of_layers() { return {.num_heads = kH, .pre_norm = true, .eps = 1e-3}; }

class TransformerLayerOn : public DeviceTest {};
ATTEND_INSTANTIATE_ON_DEVICES(TransformerLayerOn);

TEST_P(TransformerLayerOn, AnEncoderLayersAttentionHasEveryVariant) {
  for (const auto& variant : variants()) {
    SCOPED_TRACE(variant.name);
    TransformerEncoderLayer made(layer_of(options_of(variant)));
    randomise(*made);
    auto layer = placed(made);
    const auto x = randn({kB, kT, kE});
    auto form = form_of_layers();
    form.self_attention = reference_of(variant);
    EXPECT_TENSOR_NEAR(layer(x).output, oracle::encoder_layer(x, oracle::weights_of(*layer), form),
                       8.0 * tolerance());
  }
}

TEST_P(TransformerLayerOn, ADecoderLayersSelfAttentionHasEveryVariant) {
  for (const auto& variant : variants()) {
    SCOPED_TRACE(variant.name);
    // The cross-attention is plain, whatever the self-attention is.
    TransformerDecoderLayer made(
        layer_of(options_of(variant)).cross_attention(MultiHeadAttentionOptions(kE, kH)));
    randomise(*made);
    auto layer = placed(made);
    const auto target = randn({kB, kT, kE}), memory = randn({kB, kS, kE});
    auto form = form_of_layers();
    form.self_attention = reference_of(variant);
    EXPECT_TENSOR_NEAR(layer(target, memory).output,
                       oracle::decoder_layer(target, memory, oracle::weights_of(*layer), form),
                       8.0 * tolerance());
  }
}

TEST_P(TransformerLayerOn, ADecoderLayersCrossAttentionHasItsOwnVariants) {
  for (const auto& variant : variants()) {
    if (variant.by_position) continue;
    SCOPED_TRACE(variant.name);
    TransformerDecoderLayer made(
        layer_of(MultiHeadAttentionOptions(kE, kH)).cross_attention(options_of(variant)));
    randomise(*made);
    auto layer = placed(made);
    const auto target = randn({kB, kT, kE}), memory = randn({kB, kS, kE});
    auto form = form_of_layers();
    form.cross_attention = reference_of(variant);
    EXPECT_TENSOR_NEAR(layer(target, memory).output,
                       oracle::decoder_layer(target, memory, oracle::weights_of(*layer), form),
                       8.0 * tolerance());
  }
}

TEST_P(TransformerLayerOn, NormAndFeedForwardAreChosen) {
  for (const auto order : {NormOrder::kPre, NormOrder::kPost}) {
    const auto options =
        layer_of(MultiHeadAttentionOptions(kE, kH))
            .norm(NormKind::kRms)
            .norm_order(order)
            .feed_forward(
                FeedForwardOptions(kE, kF).gated(true).activation(Activation::kSwish).bias(false));
    TransformerEncoderLayer made(options);
    TransformerDecoderLayer made_decoder(options);
    randomise(*made);
    randomise(*made_decoder);
    auto encoder = placed(made);
    auto decoder = placed(made_decoder);
    auto form = form_of_layers();
    form.pre_norm = order == NormOrder::kPre;
    form.rms_norm = true;
    form.activation = oracle::Activation::kSwish;
    const auto x = randn({kB, kT, kE}), memory = randn({kB, kS, kE});
    EXPECT_TENSOR_NEAR(encoder(x).output,
                       oracle::encoder_layer(x, oracle::weights_of(*encoder), form),
                       8.0 * tolerance());
    EXPECT_TENSOR_NEAR(decoder(x, memory).output,
                       oracle::decoder_layer(x, memory, oracle::weights_of(*decoder), form),
                       8.0 * tolerance());
  }
}

// A block as in Llama: no biases, grouped keys, rotary positions, RMSNorm, SwiGLU.
TransformerLayerOptions llama_block() {
  return TransformerLayerOptions(
             MultiHeadAttentionOptions(kE, kH).num_kv_heads(2).rotary(RotaryOptions{}))
      .feed_forward(FeedForwardOptions(kE, kF).gated(true).activation(Activation::kSwish))
      .norm(NormKind::kRms)
      .norm_order(NormOrder::kPre)
      .dropout(0.0)
      .bias(false);
}

TEST(TransformerLayer, CachedStepsAreTheFullPassForEveryVariant) {
  auto layers = std::vector{llama_block()};
  for (const auto& variant : variants()) layers.push_back(layer_of(options_of(variant)));
  for (const auto& options : layers) {
    TransformerDecoder decoder(
        TransformerLayerOptions(options).cross_attention(MultiHeadAttentionOptions(kE, kH)), 2);
    randomise(*decoder);
    decoder->to(torch::kDouble);
    decoder->eval();
    const auto target = torch::randn({kB, kT, kE}, torch::kDouble);
    const auto memory = torch::randn({kB, kS, kE}, torch::kDouble);
    const auto all = decoder(target, memory).output;
    auto cache = decoder->start(memory);
    for (int64_t t = 0; t < kT; ++t) {
      EXPECT_TENSOR_NEAR(decoder->step(target.narrow(1, t, 1), cache).output, all.narrow(1, t, 1),
                         1e-12);
    }
  }
}

TEST(TransformerLayer, GradientsOfALlamaBlockMatchDifferences) {
  TransformerEncoderLayer layer(llama_block());
  randomise(*layer);
  layer->to(torch::kDouble);
  const auto x = torch::randn({kB, kT, kE}, torch::kDouble).requires_grad_();
  auto leaves = parameters_of(*layer);
  leaves.push_back({"x", x});
  testing_support::expect_gradients_match_differences(
      [&] { return layer(x, AttentionMask::causal()).output; }, leaves);
}

TEST(TransformerLayer, TheNamesOfWeightsHaveNoExtraLevel) {
  const auto names = TransformerEncoderLayer(llama_block())->named_parameters().keys();
  EXPECT_EQ(names,
            (std::vector<std::string>{"self_attn.k_proj.weight", "self_attn.v_proj.weight",
                                      "self_attn.q_proj.weight", "self_attn.out_proj.weight",
                                      "self_attn_layer_norm.weight", "fc1.weight", "fc2.weight",
                                      "gate_proj.weight", "final_layer_norm.weight"}));
}

TEST(TransformerLayer, ItsFeedForwardFollowsTheLayersMode) {
  TransformerEncoderLayer layer(
      TransformerLayerOptions(kE, kH).dropout(0.0).activation_dropout(0.5));
  TransformerDecoderLayer decoder_layer(layer->options);
  const auto x = torch::randn({kB, kT, kE});
  const auto differs = [&](const auto& run) {
    return (run() - run()).abs().max().template item<double>() > 0.0;
  };
  const auto encode = [&] { return layer(x).output; };
  const auto decode = [&] { return decoder_layer(x, x).output; };
  EXPECT_TRUE(differs(encode));
  EXPECT_TRUE(differs(decode));
  layer->eval();
  decoder_layer->eval();
  EXPECT_FALSE(differs(encode));
  EXPECT_FALSE(differs(decode));
  auto copy = std::dynamic_pointer_cast<TransformerEncoderLayerImpl>(layer->clone());
  EXPECT_FALSE(differs([&] { return copy->forward(x).output; }));
  copy->train();
  EXPECT_TRUE(differs([&] { return copy->forward(x).output; }));
}

TEST(TransformerLayer, ACloneIsEqualAndSeparate) {
  TransformerEncoderLayer layer(llama_block());
  randomise(*layer);
  const auto clone = layer->clone();
  testing_support::expect_clone_is_equal_and_separate(*layer, *clone);
  const auto x = torch::randn({kB, kT, kE});
  EXPECT_TENSOR_EQUAL(
      std::dynamic_pointer_cast<TransformerEncoderLayerImpl>(clone)->forward(x).output,
      layer(x).output);
}

TEST(TransformerLayer, ShortcutsSetThePartsOptions) {
  const auto options = TransformerLayerOptions(kE, kH)
                           .cross_attention(MultiHeadAttentionOptions(kE, 2))
                           .feed_forward_dim(7)
                           .activation(Activation::kGelu)
                           .activation_dropout(0.25)
                           .attention_dropout(0.5)
                           .bias(false);
  EXPECT_EQ(options.feed_forward().feed_forward_dim(), 7);
  EXPECT_EQ(options.feed_forward().activation(), Activation::kGelu);
  EXPECT_EQ(options.feed_forward().dropout(), 0.25);
  EXPECT_FALSE(options.feed_forward().bias());
  for (const auto& attention : {options.self_attention(), *options.cross_attention()}) {
    EXPECT_EQ(attention.dropout(), 0.5);
    EXPECT_FALSE(attention.bias());
  }
}

TEST(TransformerLayer, WhatDoesNotGoTogetherIsRefusedByName) {
  for (const auto& variant : variants()) {
    if (!variant.by_position) continue;
    EXPECT_THROW_MESSAGE(
        TransformerDecoderLayer(
            TransformerLayerOptions(kE, kH).cross_attention(options_of(variant))),
        c10::ValueError,
        std::string("TransformerDecoderLayer: expected cross_attention without ") + variant.name +
            ", since a target and its memory share no positions, got " + variant.name);
  }
  EXPECT_THROW_MESSAGE(
      TransformerEncoderLayer(
          TransformerLayerOptions(kE, kH).cross_attention(MultiHeadAttentionOptions(kE, kH))),
      c10::ValueError,
      "TransformerEncoderLayer: expected options without cross_attention, which a decoder layer "
      "has, got it");
  EXPECT_THROW_MESSAGE(TransformerEncoderLayer(
                           TransformerLayerOptions(kE, kH).feed_forward(FeedForwardOptions(8, kF))),
                       c10::ValueError,
                       "TransformerEncoderLayer: expected feed_forward with the attention's "
                       "embed_dim 24, got 8");
  EXPECT_THROW_MESSAGE(TransformerDecoderLayer(TransformerLayerOptions(kE, kH).cross_attention(
                           MultiHeadAttentionOptions(8, kH))),
                       c10::ValueError,
                       "TransformerDecoderLayer: expected cross_attention with embed_dim and "
                       "query_dim 24, got 8 and 8");
}

TEST(TransformerLayer, AMemoryMayHaveASizeOfItsOwn) {
  TransformerDecoderLayer layer(TransformerLayerOptions(kE, kH).cross_attention(
      MultiHeadAttentionOptions(kE, kH).key_dim(7).value_dim(7)));
  EXPECT_EQ(layer(torch::randn({kB, kT, kE}), torch::randn({kB, kS, 7})).output.sizes(),
            (std::vector<int64_t>{kB, kT, kE}));
}

std::string printed(const torch::nn::Module& module) {
  std::ostringstream stream;
  stream << module;
  return stream.str();
}

TEST(TransformerLayer, PrintsWhatDiffersFromTheDefault) {
  EXPECT_EQ(printed(*TransformerEncoderLayer(llama_block())),
            "attend::TransformerEncoderLayer(embed_dim=24, num_heads=4, feed_forward_dim=10, "
            "activation=swish, gated, norm_order=pre, norm=rms)(\n"
            "  (self_attn): attend::MultiHeadSelfAttention(embed_dim=24, num_heads=4, dropout=0, "
            "num_kv_heads=2, bias=false, rotary)(\n"
            "    (k_proj): torch::nn::Linear(in_features=24, out_features=12, bias=false)\n"
            "    (v_proj): torch::nn::Linear(in_features=24, out_features=12, bias=false)\n"
            "    (q_proj): torch::nn::Linear(in_features=24, out_features=24, bias=false)\n"
            "    (out_proj): torch::nn::Linear(in_features=24, out_features=24, bias=false)\n"
            "  )\n"
            "  (self_attn_layer_norm): attend::RMSNorm(24, eps=1e-05)\n"
            "  (fc1): torch::nn::Linear(in_features=24, out_features=10, bias=false)\n"
            "  (fc2): torch::nn::Linear(in_features=10, out_features=24, bias=false)\n"
            "  (gate_proj): torch::nn::Linear(in_features=24, out_features=10, bias=false)\n"
            "  (final_layer_norm): attend::RMSNorm(24, eps=1e-05)\n"
            ")");
}

TEST(Norm, ByHand) {
  const auto x = torch::tensor({{3.0, 1.0}}, torch::kDouble);
  Norm layer(2), rms(NormOptions(2).kind(NormKind::kRms).eps(4.0));
  layer->to(torch::kDouble);
  rms->to(torch::kDouble);
  EXPECT_TENSOR_NEAR(layer(x), torch::tensor({{1.0, -1.0}}, torch::kDouble), 1e-5);
  EXPECT_TENSOR_NEAR(rms(x), x / 3.0, 1e-15);  // mean of squares 5, and eps 4
  EXPECT_EQ(rms->named_parameters().keys(), std::vector<std::string>{"weight"});
}

TEST(Norm, ErrorsNameWhatWasExpectedAndGot) {
  EXPECT_THROW_MESSAGE(Norm(0), c10::ValueError, "LayerNorm: expected size > 0, got 0");
  EXPECT_THROW_MESSAGE(Norm(NormOptions(2).eps(-1.0)), c10::ValueError,
                       "LayerNorm: expected eps >= 0, got -1");
  EXPECT_THROW_MESSAGE(Norm(NormOptions(2).kind(NormKind::kRms))(torch::zeros({2, 3})), c10::Error,
                       "RMSNorm: expected x with a last size of 2, got [2, 3]");
}

// What LibTorch warns of.
class CountedWarnings : public c10::WarningHandler {
 public:
  void process(const c10::Warning& /*warning*/) override { ++count; }
  int count = 0;
};

TEST(Norm, SixteenBitsBesideFloat32WeightsAreRoundedOnceWithoutAWarning) {
  Norm norm(NormOptions(6).kind(NormKind::kRms));
  randomise(*norm);
  const auto x = torch::randn({2, 3, 6}).to(torch::kBFloat16);
  CountedWarnings warnings;
  const c10::WarningUtils::WarningHandlerGuard guard(&warnings);
  EXPECT_TRUE(torch::equal(norm(x), norm(x.to(torch::kFloat)).to(torch::kBFloat16)));
  EXPECT_EQ(warnings.count, 0);
}

}  // namespace
}  // namespace attend::transformer_layer_test
