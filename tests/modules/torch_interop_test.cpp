#include "attend/modules/torch_interop.h"

#include <gtest/gtest.h>

#include "support/module_checks.h"
#include "support/tensor_assert.h"

namespace attend::torch_interop_test {
namespace {

using testing_support::randomise;

constexpr int64_t kE = 8, kH = 2, kF = 6;

template <typename Module>
Module randomised(Module module, torch::Dtype dtype = torch::kFloat) {
  randomise(*module);
  module->to(dtype);
  return module;
}

template <typename Module>
void expect_same_weights(const Module& a, const Module& b) {
  const auto expected = b->named_parameters();
  ASSERT_EQ(a->named_parameters().keys(), expected.keys());
  for (const auto& parameter : a->named_parameters()) {
    SCOPED_TRACE(parameter.key());
    EXPECT_TENSOR_EQUAL(parameter.value(), expected[parameter.key()]);
    EXPECT_NE(parameter.value().data_ptr(), expected[parameter.key()].data_ptr());
  }
}

std::vector<torch::nn::MultiheadAttentionOptions> attention_options() {
  using Options = torch::nn::MultiheadAttentionOptions;
  return {Options(kE, kH), Options(kE, kH).bias(false), Options(kE, kH).kdim(5).vdim(7),
          Options(kE, kH).kdim(5).vdim(7).bias(false)};
}

TransformerLayerOptions layer_options() {
  return TransformerLayerOptions(kE, kH)
      .feed_forward_dim(kF)
      .dropout(0.3)
      .attention_dropout(0.2)
      .activation_dropout(0.1)
      .activation(Activation::kGelu)
      .norm_eps(1e-3);
}

void expect_same_layer_options(const TransformerLayerOptions& a, const TransformerLayerOptions& b) {
  EXPECT_EQ(a.embed_dim(), b.embed_dim());
  EXPECT_EQ(a.num_heads(), b.num_heads());
  EXPECT_EQ(a.feed_forward_dim(), b.feed_forward_dim());
  EXPECT_EQ(a.dropout(), b.dropout());
  EXPECT_EQ(a.attention_dropout(), b.attention_dropout());
  EXPECT_EQ(a.activation_dropout(), b.activation_dropout());
  EXPECT_EQ(a.activation(), b.activation());
  EXPECT_EQ(a.norm_order(), b.norm_order());
  EXPECT_EQ(a.norm_eps(), b.norm_eps());
  EXPECT_EQ(a.self_attention().bias(), b.self_attention().bias());
  EXPECT_EQ(a.feed_forward().bias(), b.feed_forward().bias());
}

TEST(TorchInterop, TheThreePartsOfInProjAreQueryKeyAndValue) {
  const auto theirs = randomised(torch::nn::MultiheadAttention(kE, kH));
  const auto ours = from_torch(theirs);
  EXPECT_TENSOR_EQUAL(
      torch::cat({ours->q_proj->weight, ours->k_proj->weight, ours->v_proj->weight}),
      theirs->in_proj_weight);
  EXPECT_TENSOR_EQUAL(torch::cat({ours->q_proj->bias, ours->k_proj->bias, ours->v_proj->bias}),
                      theirs->in_proj_bias);
  EXPECT_TENSOR_EQUAL(ours->out_proj->weight, theirs->out_proj->weight);
}

TEST(TorchInterop, AttentionGoesThereAndBackUnchanged) {
  for (const auto& options : attention_options()) {
    for (const auto dtype : {torch::kFloat, torch::kDouble, torch::kBFloat16}) {
      auto theirs = randomised(torch::nn::MultiheadAttention(options), dtype);
      theirs->eval();
      theirs->options.dropout(0.25);
      const auto ours = from_torch(theirs);
      EXPECT_EQ(ours->q_proj->weight.scalar_type(), dtype);
      EXPECT_FALSE(ours->is_training());
      EXPECT_FALSE(ours->q_proj->is_training());
      EXPECT_EQ(ours->options.dropout(), 0.25);
      EXPECT_EQ(ours->options.key_dim(), options.kdim());
      EXPECT_EQ(ours->options.value_dim(), options.vdim());
      const auto back = to_torch(ours);
      expect_same_weights(back, theirs);
      EXPECT_EQ(back->options.dropout(), 0.25);
      EXPECT_FALSE(back->is_training());
    }
  }
}

TEST(TorchInterop, CopyingConvertsToTheDtypeOfTheTarget) {
  const auto theirs = randomised(torch::nn::MultiheadAttention(kE, kH));
  auto ours = randomised(MultiHeadAttention(kE, kH), torch::kDouble);
  copy_weights(theirs, ours);
  EXPECT_EQ(ours->q_proj->weight.scalar_type(), torch::kDouble);
  EXPECT_TENSOR_EQUAL(ours->q_proj->weight,
                      theirs->in_proj_weight.narrow(0, 0, kE).to(torch::kDouble));
  EXPECT_TRUE(ours->q_proj->weight.requires_grad());
  EXPECT_TRUE(ours->q_proj->weight.is_leaf());
}

TEST(TorchInterop, EveryMultiHeadModuleIsCopiedBothWays) {
  const auto source = randomised(torch::nn::MultiheadAttention(kE, kH));
  const auto check = [&](auto ours) {
    auto back = randomised(torch::nn::MultiheadAttention(kE, kH));
    copy_weights(source, ours);
    copy_weights(ours, back);
    expect_same_weights(back, source);
  };
  check(MultiHeadAttention(kE, kH));
  check(MultiHeadSelfAttention(kE, kH));
  check(MultiHeadCrossAttention(kE, kE, kE, kH));
  check(CausalSelfAttention(kE, kH, 4));
  expect_same_weights(to_torch(self_attention_from_torch(source)), source);
  const auto cross = randomised(MultiHeadCrossAttention(kE, 5, kE, kH));
  const auto exported = to_torch(cross);
  EXPECT_TENSOR_EQUAL(exported->k_proj_weight, cross->k_proj->weight);
  EXPECT_TENSOR_EQUAL(exported->in_proj_bias.narrow(0, 2 * kE, kE), cross->v_proj->bias);
}

TEST(TorchInterop, LayersGoThereAndBackUnchanged) {
  const auto encoder = randomised(TransformerEncoderLayer(layer_options()), torch::kDouble);
  const auto encoder_back = from_torch(to_torch(encoder));
  expect_same_weights(encoder_back, encoder);
  expect_same_layer_options(encoder_back->options, encoder->options);
  const auto decoder = randomised(TransformerDecoderLayer(layer_options()), torch::kDouble);
  const auto decoder_back = from_torch(to_torch(decoder));
  expect_same_weights(decoder_back, decoder);
  expect_same_layer_options(decoder_back->options, decoder->options);
}

TEST(TorchInterop, StacksGoThereAndBackUnchanged) {
  for (const bool final_norm : {false, true}) {
    for (const int64_t num_layers : {0, 1, 3}) {
      const auto encoder = randomised(TransformerEncoder(
          TransformerEncoderOptions(layer_options(), num_layers).final_norm(final_norm)));
      encoder.ptr()->eval();
      const auto encoder_back = from_torch(to_torch(encoder));
      expect_same_weights(encoder_back, encoder);
      EXPECT_EQ(encoder_back->options.final_norm(), final_norm);
      EXPECT_FALSE(encoder_back->is_training());
      expect_same_layer_options(encoder_back->options.layer(), layer_options());
      const auto decoder = randomised(TransformerDecoder(
          TransformerDecoderOptions(layer_options(), num_layers).final_norm(final_norm)));
      const auto decoder_back = from_torch(to_torch(decoder));
      expect_same_weights(decoder_back, decoder);
      EXPECT_EQ(decoder_back->options.final_norm(), final_norm);
      expect_same_layer_options(decoder_back->options.layer(), layer_options());
    }
  }
}

TransformerStacks stacks(const TransformerLayerOptions& encoder_layer,
                         const TransformerLayerOptions& decoder_layer, bool final_norm = true) {
  return {randomised(TransformerEncoder(
              TransformerEncoderOptions(encoder_layer, 2).final_norm(final_norm))),
          randomised(TransformerDecoder(
              TransformerDecoderOptions(decoder_layer, 1).final_norm(final_norm)))};
}

TEST(TorchInterop, AWholeTransformerGoesThereAndBackUnchanged) {
  const auto ours = stacks(layer_options(), layer_options());
  const auto theirs = to_torch(ours);
  EXPECT_EQ(theirs->options.num_encoder_layers(), 2);
  EXPECT_EQ(theirs->options.num_decoder_layers(), 1);
  auto back = from_torch(theirs);
  expect_same_weights(back.encoder, ours.encoder);
  expect_same_weights(back.decoder, ours.decoder);
  expect_same_layer_options(back.encoder->options.layer(), layer_options());
  expect_same_layer_options(back.decoder->options.layer(), layer_options());
  // Into modules that exist already.
  auto other = stacks(layer_options(), layer_options());
  copy_weights(theirs, other);
  expect_same_weights(other.decoder, ours.decoder);
  auto torch_other = torch::nn::Transformer(
      torch::nn::TransformerOptions(kE, kH, 2, 1).dim_feedforward(kF).activation(torch::kGELU));
  for (const auto& layer : *torch_other->encoder.ptr<torch::nn::TransformerEncoderImpl>()->layers) {
    layer->as<torch::nn::TransformerEncoderLayer>()->norm1->options.eps(1e-3);
  }
  EXPECT_THROW_MESSAGE(
      copy_weights(ours, torch_other), c10::ValueError,
      "copy_weights: expected encoder.layers.0.norm2.eps 1e-05 as in the torch::nn "
      "module, got 0.001");
}

TEST(TorchInterop, AConvertedModuleIsIndependent) {
  const auto theirs = randomised(torch::nn::MultiheadAttention(kE, kH));
  const auto before = theirs->in_proj_weight.detach().clone();
  auto ours = from_torch(theirs);
  randomise(*ours);
  EXPECT_TENSOR_EQUAL(theirs->in_proj_weight, before);
}

template <typename Module>
std::vector<torch::Tensor> snapshot(const Module& module) {
  std::vector<torch::Tensor> result;
  for (const auto& parameter : module->parameters()) result.push_back(parameter.detach().clone());
  return result;
}

template <typename Module>
void expect_unchanged(const Module& module, const std::vector<torch::Tensor>& before) {
  const auto after = module->parameters();
  ASSERT_EQ(after.size(), before.size());
  for (size_t i = 0; i < before.size(); ++i) EXPECT_TENSOR_EQUAL(after[i], before[i]);
}

TEST(TorchInterop, WhatDoesNotFitIsRefusedAndNothingIsChanged) {
  using Options = torch::nn::MultiheadAttentionOptions;
  auto ours = randomised(MultiHeadAttention(kE, kH));
  const auto before = snapshot(ours);
  const auto refused = [&](const Options& options, const char* message) {
    torch::nn::MultiheadAttention theirs(options);
    EXPECT_THROW_MESSAGE(copy_weights(theirs, ours), c10::ValueError, message);
    const auto their_weights = snapshot(theirs);
    EXPECT_THROW_MESSAGE(copy_weights(ours, theirs), c10::ValueError, message);
    expect_unchanged(theirs, their_weights);
  };
  refused(Options(12, kH), "copy_weights: expected embed_dim 12 as in the torch::nn module, got 8");
  refused(Options(kE, 4), "copy_weights: expected num_heads 4 as in the torch::nn module, got 2");
  refused(Options(kE, kH).kdim(5),
          "copy_weights: expected key_dim 5 as in the torch::nn module, got 8");
  refused(Options(kE, kH).vdim(5),
          "copy_weights: expected value_dim 5 as in the torch::nn module, got 8");
  refused(Options(kE, kH).bias(false),
          "copy_weights: expected bias false as in the torch::nn module, got true");
  refused(Options(kE, kH).add_bias_kv(true),
          "copy_weights: expected add_bias_kv true as in the torch::nn module, got false");
  refused(Options(kE, kH).add_zero_attn(true),
          "copy_weights: expected add_zero_attn true as in the torch::nn module, got false");
  // The last weight is the wrong one.
  auto theirs = randomised(torch::nn::MultiheadAttention(kE, kH));
  theirs->out_proj->bias = torch::zeros({3});
  EXPECT_THROW_MESSAGE(copy_weights(theirs, ours), c10::Error,
                       "copy_weights: expected out_proj.bias of shape [3], got [8]");
  theirs->in_proj_weight = torch::zeros({kE, kE});
  EXPECT_THROW_MESSAGE(copy_weights(theirs, ours), c10::Error,
                       "copy_weights: expected in_proj_weight of shape [24, 8], got [8, 8]");
  expect_unchanged(ours, before);
}

TEST(TorchInterop, AQuerySizeOfItsOwnIsRefused) {
  const MultiHeadAttention ours(MultiHeadAttentionOptions(kE, kH).query_dim(5));
  EXPECT_THROW_MESSAGE(to_torch(ours), c10::ValueError,
                       "to_torch: expected query_dim 8 as in the torch::nn module, got 5");
}

TEST(TorchInterop, TheOptionsOfALayerThatTorchLacksAreRefused) {
  EXPECT_THROW_MESSAGE(
      to_torch(TransformerEncoderLayer(layer_options().norm_order(NormOrder::kPre))),
      c10::ValueError,
      "to_torch: expected norm_order kPost, the only one of torch::nn's, got kPre");
  EXPECT_THROW_MESSAGE(
      to_torch(TransformerDecoderLayer(layer_options().activation(Activation::kSwish))),
      c10::ValueError, "to_torch: expected activation relu or gelu, got swish");
  EXPECT_THROW_MESSAGE(to_torch(TransformerEncoderLayer(layer_options().bias(false))),
                       c10::ValueError,
                       "to_torch: expected self_attn.bias true as in the torch::nn module, got "
                       "false");
}

TEST(TorchInterop, TheOptionsOfALayerThatAttendLacksAreRefused) {
  const std::function<torch::Tensor(const torch::Tensor&)> own = [](const torch::Tensor& x) {
    return x.tanh();
  };
  const torch::nn::TransformerEncoderLayer theirs(
      torch::nn::TransformerEncoderLayerOptions(kE, kH).activation(own));
  EXPECT_THROW_MESSAGE(from_torch(theirs), c10::ValueError,
                       "from_torch: expected activation relu or gelu, got a user-defined function");
  const torch::nn::TransformerEncoder with_other_norm(
      torch::nn::TransformerEncoderOptions(torch::nn::TransformerEncoderLayerOptions(kE, kH), 1)
          .norm(torch::nn::AnyModule(torch::nn::Linear(kE, kE))));
  EXPECT_THROW_MESSAGE(from_torch(with_other_norm), c10::ValueError,
                       "from_torch: expected a torch::nn::LayerNorm as norm, got a "
                       "torch::nn::Linear");
}

TEST(TorchInterop, StacksThatDifferAreRefused) {
  const auto theirs = to_torch(randomised(
      TransformerEncoder(TransformerEncoderOptions(layer_options(), 2).final_norm(true))));
  const auto refused = [&](const TransformerEncoderOptions& options, const char* message) {
    auto ours = randomised(TransformerEncoder(options));
    const auto before = snapshot(ours);
    EXPECT_THROW_MESSAGE(copy_weights(theirs, ours), c10::ValueError, message);
    expect_unchanged(ours, before);
  };
  refused(TransformerEncoderOptions(layer_options(), 3).final_norm(true),
          "copy_weights: expected num_layers 2 as in the torch::nn module, got 3");
  refused(TransformerEncoderOptions(layer_options(), 2).final_norm(false),
          "copy_weights: expected final_norm true as in the torch::nn module, got false");
  refused(
      TransformerEncoderOptions(layer_options().activation(Activation::kRelu), 2).final_norm(true),
      "copy_weights: expected layers.0.activation gelu as in the torch::nn module, got relu");
  refused(TransformerEncoderOptions(layer_options().norm_eps(1e-6), 2).final_norm(true),
          "copy_weights: expected layers.0.norm1.eps 0.001 as in the torch::nn module, got 1e-06");
}

TEST(TorchInterop, ATransformerHasOneSetOfOptionsAndFinalNorms) {
  EXPECT_THROW_MESSAGE(to_torch(stacks(layer_options(), layer_options(), /*final_norm=*/false)),
                       c10::ValueError,
                       "to_torch: expected encoder.final_norm true as in the torch::nn module, got "
                       "false");
  auto other_heads = layer_options();
  other_heads.self_attention(MultiHeadAttentionOptions(kE, 4));
  EXPECT_THROW_MESSAGE(to_torch(stacks(layer_options(), other_heads)), c10::ValueError,
                       "to_torch: expected decoder.layers.0.self_attn.num_heads 2 as in the "
                       "torch::nn module, got 4");
}

// A module's weights go through a state dict into another one, which then computes the same.
template <typename Module>
void expect_state_round_trip(Module from, Module to, const std::vector<std::string>& names) {
  randomise(*from);
  randomise(*to);
  auto state = torch_state(from);
  for (const auto& name : names) EXPECT_EQ(state.count(name), 1U) << name;
  load_torch_state(state, to);
  const auto expected = from->named_parameters(), actual = to->named_parameters();
  for (const auto& item : expected) {
    SCOPED_TRACE(item.key());
    EXPECT_TENSOR_EQUAL(actual[item.key()], item.value());
  }
}

TEST(TorchState, GoesThroughPythonsNames) {
  const auto sizes = MultiHeadAttentionOptions(kE, kH);
  const auto both = [](const auto& make, const std::vector<std::string>& names) {
    expect_state_round_trip(make(), make(), names);
  };
  both([&] { return MultiHeadAttention(sizes); },
       {"in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias"});
  auto other = sizes;
  other.key_dim(5).value_dim(6).add_bias_kv(true);
  both([&] { return MultiHeadAttention(other); },
       {"q_proj_weight", "k_proj_weight", "v_proj_weight", "in_proj_bias", "bias_k", "bias_v"});
  const auto layer = TransformerLayerOptions(kE, kH).feed_forward_dim(7);
  both([&] { return TransformerEncoderLayer(layer); },
       {"self_attn.in_proj_weight", "linear1.weight", "linear2.bias", "norm2.weight"});
  both([&] { return TransformerDecoderLayer(layer); },
       {"multihead_attn.in_proj_weight", "norm3.bias"});
  both([&] { return TransformerEncoder(layer, 2); }, {"layers.1.self_attn.out_proj.bias"});
}

TEST(TorchState, ErrorsListEveryTensorAtFaultAndChangeNothing) {
  MultiHeadAttention to(kE, kH);
  const auto before = to->out_proj->weight.clone();
  auto state = torch_state(to);
  state.erase("out_proj.bias");
  state["extra"] = torch::zeros({1});
  state["in_proj_bias"] = torch::zeros({3});
  state["out_proj.weight"].zero_();
  EXPECT_THROW_MESSAGE(load_torch_state(state, to), c10::Error,
                       "load_torch_state: expected the weights of the module, got \"in_proj_bias\" "
                       "expected shape [24], got [3]; \"out_proj.bias\" is missing; \"extra\" is "
                       "not used by the module");
  EXPECT_TENSOR_EQUAL(to->out_proj->weight, before);
}

}  // namespace
}  // namespace attend::torch_interop_test
