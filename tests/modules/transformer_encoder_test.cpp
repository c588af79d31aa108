#include "attend/modules/transformer_encoder.h"

#include <gtest/gtest.h>

#include "support/autocast.h"
#include "support/devices.h"
#include "support/module_checks.h"
#include "support/oracle.h"
#include "support/tensor_assert.h"

namespace attend::transformer_encoder_test {
namespace {

using testing_support::DeviceTest;
using testing_support::expect_finite_gradients;
using testing_support::parameters_of;
using testing_support::randomise;

constexpr int64_t kB = 2, kS = 5, kH = 4, kE = 24, kF = 10;

TransformerLayerOptions sizes(NormOrder order = NormOrder::kPost,
                              Activation activation = Activation::kRelu) {
  return TransformerLayerOptions(kE, kH)
      .feed_forward_dim(kF)
      .dropout(0.0)
      .norm_order(order)
      .activation(activation);
}

constexpr auto kOrders = {NormOrder::kPost, NormOrder::kPre};

template <typename Module>
Module randomised(Module module, torch::Dtype dtype = torch::kDouble) {
  randomise(*module);
  module->to(dtype);
  return module;
}

torch::Tensor input(int64_t length = kS) { return torch::randn({kB, length, kE}, torch::kDouble); }

TEST(TransformerEncoderLayer, WithZeroSublayersItIsTheNormOfItsInputByHand) {
  const auto x = torch::tensor({{{1.0, -1.0}}}, torch::kDouble);
  for (const auto order : kOrders) {
    TransformerEncoderLayer layer(
        TransformerLayerOptions(2, 2).norm_order(order).norm_eps(0.0).dropout(0.0));
    layer->to(torch::kDouble);
    const torch::NoGradGuard no_grad;
    layer->self_attn->out_proj->weight.zero_();
    layer->feed_forward->fc2->weight.zero_();
    layer->final_layer_norm->bias.fill_(0.5);
    layer->final_layer_norm->weight.fill_(3.0);
    // Post-norm: [1, -1] is normalised already, then 3 x + 0.5. Pre-norm: the input itself.
    EXPECT_TENSOR_NEAR(
        layer(x).output,
        order == NormOrder::kPost ? torch::tensor({{{3.5, -2.5}}}, torch::kDouble) : x, 1e-15);
  }
}

class TransformerEncoderOn : public DeviceTest {};
ATTEND_INSTANTIATE_ON_DEVICES(TransformerEncoderOn);

TEST_P(TransformerEncoderOn, ALayerAgreesWithTheOracle) {
  const std::vector<std::pair<Activation, oracle::Activation>> activations = {
      {Activation::kRelu, oracle::Activation::kRelu},
      {Activation::kGelu, oracle::Activation::kGelu},
      {Activation::kSwish, oracle::Activation::kSwish}};
  for (const auto order : kOrders) {
    for (const auto& [activation, meaning] : activations) {
      auto layer = placed(TransformerEncoderLayer(sizes(order, activation).norm_eps(1e-3)));
      const auto x = randn({kB, kS, kE});
      const auto may_attend = (torch::rand({kB, kS}) < 0.7).to(options().device());
      const auto expected = oracle::encoder_layer(x, oracle::weights_of(*layer),
                                                  {kH, order == NormOrder::kPre, meaning, 1e-3},
                                                  {may_attend.view({kB, 1, 1, kS}), {}});
      // Two norms and three products round one after another.
      EXPECT_TENSOR_NEAR(layer(x, AttentionMask::padding(may_attend)).output, expected,
                         2.0 * tolerance());
    }
  }
}

TEST_P(TransformerEncoderOn, AStackAgreesWithTheOracle) {
  for (const auto order : kOrders) {
    auto encoder = placed(TransformerEncoder(sizes(order), 2));
    const auto weights = oracle::weights_of(*encoder);
    const auto x = randn({kB, kS, kE});
    torch::Tensor expected = x;
    for (const char* layer : {"layers.0.", "layers.1."}) {
      expected = oracle::encoder_layer(expected, oracle::part(weights, layer),
                                       {kH, order == NormOrder::kPre});
    }
    if (order == NormOrder::kPre) expected = oracle::layer_norm(expected, weights, "layer_norm");
    EXPECT_TENSOR_NEAR(encoder(x).output, expected, 4.0 * tolerance());
  }
}

TEST_P(TransformerEncoderOn, ASentenceOfNoTokensGivesFiniteGradients) {
  for (const auto order : kOrders) {
    for (const double dropout : {0.0, 0.5}) {
      auto encoder = placed(TransformerEncoder(sizes(order).attention_dropout(dropout), 2));
      encoder->train();
      const auto x = randn({kB, kS, kE}).requires_grad_();
      const auto mask = AttentionMask::key_lengths(torch::tensor({0, 3}).to(options().device()));
      const auto result = encoder(x, mask, WeightsRequest::kPerHead);
      EXPECT_TRUE(result.output.isfinite().all().item<bool>());
      EXPECT_EQ(result.weights[1][0].abs().sum().item<double>(), 0.0);
      (result.output.square().sum() + result.weights[0].square().sum()).backward();
      expect_finite_gradients({{"x", x}});
      expect_finite_gradients(parameters_of(*encoder));
    }
  }
}

TEST(TransformerEncoder, WeightsAreThoseOfEveryLayerAndDoNotChangeTheOutput) {
  auto encoder = randomised(TransformerEncoder(sizes(), 3));
  const auto x = input();
  const auto alone = encoder(x);
  EXPECT_TRUE(alone.weights.empty());
  for (const auto kind : {WeightsRequest::kPerHead, WeightsRequest::kMean}) {
    const auto with = encoder(x, AttentionMask(), kind);
    EXPECT_TENSOR_EQUAL(with.output, alone.output);
    ASSERT_EQ(with.weights.size(), 3u);
    for (const auto& weights : with.weights) {
      EXPECT_TENSOR_NEAR(
          weights.sum(-1),
          kind == WeightsRequest::kMean ? torch::ones({kB, kS}) : torch::ones({kB, kH, kS}), 1e-12);
    }
  }
}

TEST(TransformerEncoder, ChosenLayersHeadsAndQueriesAloneReturnWeights) {
  auto encoder = randomised(TransformerEncoder(sizes(), 3));
  const auto x = input();
  const auto full = encoder(x, AttentionMask(), WeightsRequest::kPerHead);
  const auto some =
      encoder(x, AttentionMask(),
              WeightsRequest(WeightsRequest::kPerHead).heads({-1, 0}).queries({1}).layers({-2}));
  EXPECT_TENSOR_EQUAL(some.output, full.output);
  ASSERT_EQ(some.weights.size(), 3u);
  EXPECT_FALSE(some.weights[0].defined());
  EXPECT_FALSE(some.weights[2].defined());
  EXPECT_TENSOR_EQUAL(
      some.weights[1],
      full.weights[1].index_select(1, torch::tensor({kH - 1, int64_t{0}})).narrow(2, 1, 1));
}

TEST(TransformerEncoder, PaddingLeavesTheRealPositionsUnchanged) {
  for (const auto order : kOrders) {
    auto encoder = randomised(TransformerEncoder(sizes(order), 2));
    const auto x = input();
    const auto longer = torch::cat({x, 100.0 * input(2)}, 1);
    EXPECT_TENSOR_NEAR(encoder(longer, AttentionMask::key_lengths(torch::tensor({kS, kS})))
                           .output.narrow(1, 0, kS),
                       encoder(x).output, 1e-11);
  }
}

TEST(TransformerEncoder, PermutingTheSequencePermutesTheOutput) {
  auto encoder = randomised(TransformerEncoder(sizes(), 2));
  const auto x = input();
  const auto order = torch::randperm(kS, torch::kLong);
  EXPECT_TENSOR_NEAR(encoder(x.index_select(1, order)).output,
                     encoder(x).output.index_select(1, order), 1e-11);
}

TEST(TransformerEncoder, WithACausalMaskTheFutureLeavesThePastUnchanged) {
  auto encoder = randomised(TransformerEncoder(sizes(), 2));
  const auto x = input();
  auto changed = x.clone();
  changed.narrow(1, 3, 2).normal_();
  const auto before = encoder(x, AttentionMask::causal()).output;
  const auto after = encoder(changed, AttentionMask::causal()).output;
  EXPECT_TENSOR_NEAR(after.narrow(1, 0, 3), before.narrow(1, 0, 3), 1e-12);
  EXPECT_GT((before - after).narrow(1, 3, 2).abs().max().item<double>(), 0.0);
}

TEST(TransformerEncoder, UnbatchedInputIsTheBatchedOneSqueezed) {
  for (const auto order : kOrders) {
    auto encoder = randomised(TransformerEncoder(sizes(order), 2));
    const auto x = input();
    const auto batched = encoder(x.narrow(0, 1, 1), AttentionMask(), WeightsRequest::kMean);
    const auto single = encoder(x[1], AttentionMask(), WeightsRequest::kMean);
    EXPECT_TENSOR_NEAR(single.output, batched.output[0], 1e-13);
    EXPECT_TENSOR_NEAR(single.weights[1], batched.weights[1][0], 1e-13);
  }
}

TEST(TransformerEncoder, GradientsMatchDifferences) {
  for (const auto order : kOrders) {
    auto encoder = randomised(TransformerEncoder(
        TransformerLayerOptions(6, 2).feed_forward_dim(8).dropout(0.0).norm_order(order).activation(
            Activation::kGelu),
        2));
    const auto x = torch::randn({kB, kS, 6}, torch::kDouble).requires_grad_();
    auto leaves = parameters_of(*encoder);
    leaves.push_back({"x", x});
    testing_support::expect_gradients_match_differences([&] { return encoder(x).output; }, leaves);
  }
}

TEST(TransformerEncoder, LayersStartWithWeightsOfTheirOwn) {
  TransformerEncoder encoder(sizes(), 2);
  const auto weights = encoder->named_parameters();
  EXPECT_FALSE(torch::equal(weights["layers.0.fc1.weight"], weights["layers.1.fc1.weight"]));
}

TEST(TransformerEncoder, ParameterNamesAreThoseOfHuggingFace) {
  EXPECT_EQ(
      TransformerEncoderLayer(sizes())->named_parameters().keys(),
      (std::vector<std::string>{
          "self_attn.k_proj.weight", "self_attn.k_proj.bias", "self_attn.v_proj.weight",
          "self_attn.v_proj.bias", "self_attn.q_proj.weight", "self_attn.q_proj.bias",
          "self_attn.out_proj.weight", "self_attn.out_proj.bias", "self_attn_layer_norm.weight",
          "self_attn_layer_norm.bias", "fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias",
          "final_layer_norm.weight", "final_layer_norm.bias"}));
  EXPECT_FALSE(TransformerEncoder(sizes(), 1)->named_parameters().contains("layer_norm.weight"));
  EXPECT_TRUE(TransformerEncoder(sizes(NormOrder::kPre), 1)
                  ->named_parameters()
                  .contains("layer_norm.weight"));
}

TEST(TransformerEncoder, EveryDropoutIsForTrainingOnly) {
  const auto x = input();
  for (const auto& options :
       {sizes().dropout(0.5), sizes().attention_dropout(0.5), sizes().activation_dropout(0.5)}) {
    auto layer = randomised(TransformerEncoderLayer(options));
    EXPECT_GT((layer(x).output - layer(x).output).abs().max().item<double>(), 0.0);
    layer->eval();
    EXPECT_TENSOR_EQUAL(layer(x).output, layer(x).output);
  }
}

TEST(TransformerEncoder, UnderAutocastItTakesFloat32AndTrains) {
  for (const auto order : kOrders) {
    auto encoder = randomised(TransformerEncoder(sizes(order), 2), torch::kFloat);
    const auto x = torch::randn({kB, kS, kE});
    torch::Tensor output;
    {
      const testing_support::CpuAutocast autocast;
      output = encoder(x).output;
    }
    output.to(torch::kFloat).square().sum().backward();
    expect_finite_gradients(parameters_of(*encoder));
  }
}

TEST(TransformerEncoder, ACloneIsEqualAndSeparate) {
  for (const auto order : kOrders) {
    auto encoder = randomised(TransformerEncoder(sizes(order), 2));
    encoder->eval();
    const auto clone = std::dynamic_pointer_cast<TransformerEncoderImpl>(encoder->clone());
    testing_support::expect_clone_is_equal_and_separate(*encoder, *clone);
    const auto x = input();
    const auto before = encoder(x).output;
    EXPECT_TENSOR_EQUAL(clone->forward(x).output, before);
    randomise(*clone);
    EXPECT_TENSOR_EQUAL(encoder(x).output, before);
    EXPECT_FALSE(torch::equal(clone->forward(x).output, before));
  }
}

TEST(TransformerEncoder, SavingAndLoadingKeepsEveryWeight) {
  const auto saved = randomised(TransformerEncoder(sizes(NormOrder::kPre), 2), torch::kFloat);
  TransformerEncoder loaded(sizes(NormOrder::kPre), 2);
  testing_support::expect_save_load_round_trip(saved, loaded);
}

TEST(TransformerEncoder, ErrorsNameWhatWasExpectedAndGot) {
  using Layer = TransformerEncoderLayer;
  using Options = TransformerLayerOptions;
  EXPECT_THROW_MESSAGE(Layer(Options(10, 4)), c10::ValueError,
                       "TransformerEncoderLayer: expected embed_dim divisible by num_heads, got "
                       "embed_dim 10 and num_heads 4");
  EXPECT_THROW_MESSAGE(Layer(Options(8, 4).feed_forward_dim(0)), c10::ValueError,
                       "TransformerEncoderLayer: expected feed_forward_dim > 0, got 0");
  EXPECT_THROW_MESSAGE(Layer(Options(8, 4).dropout(1.0)), c10::ValueError,
                       "TransformerEncoderLayer: expected 0 <= dropout < 1, got 1");
  EXPECT_THROW_MESSAGE(Layer(Options(8, 4).attention_dropout(-0.5)), c10::ValueError,
                       "TransformerEncoderLayer: expected 0 <= attention_dropout < 1, got -0.5");
  EXPECT_THROW_MESSAGE(Layer(Options(8, 4).activation_dropout(2.0)), c10::ValueError,
                       "TransformerEncoderLayer: expected 0 <= activation_dropout < 1, got 2");
  EXPECT_THROW_MESSAGE(TransformerEncoder(sizes(), -1), c10::ValueError,
                       "TransformerEncoder: expected num_layers >= 0, got -1");
  for (const auto order : kOrders) {
    TransformerEncoder encoder(sizes(order), 1);
    EXPECT_THROW_MESSAGE(encoder(torch::zeros({kB, kS, 8})), c10::Error,
                         "TransformerEncoderLayer: expected x with a last size of 24, got "
                         "[2, 5, 8]");
    EXPECT_THROW_MESSAGE(encoder(torch::zeros({kE})), c10::Error,
                         "TransformerEncoderLayer: expected x with 2 to 3 dimensions, got [24]");
    EXPECT_THROW_MESSAGE(encoder(torch::zeros({kB, kS, kE}, torch::kDouble)), c10::Error,
                         "TransformerEncoderLayer: expected x of dtype Float like the weights, got "
                         "Double");
    EXPECT_THROW_MESSAGE(encoder(torch::zeros({kB, kS, kE}, torch::kMeta)), c10::Error,
                         "TransformerEncoderLayer: expected x on cpu like the weights, got meta");
  }
}

TEST(TransformerEncoder, OfNoLayersIsItsInput) {
  TransformerEncoder encoder(sizes(), 0);
  const auto x = input();
  EXPECT_TENSOR_EQUAL(encoder(x).output, x);
}

}  // namespace
}  // namespace attend::transformer_encoder_test
