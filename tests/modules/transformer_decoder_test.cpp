#include "attend/modules/transformer_decoder.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "support/devices.h"
#include "support/module_checks.h"
#include "support/oracle.h"
#include "support/tensor_assert.h"

namespace attend::transformer_decoder_test {
namespace {

using testing_support::DeviceTest;
using testing_support::expect_finite_gradients;
using testing_support::parameters_of;
using testing_support::randomise;

constexpr int64_t kB = 2, kT = 3, kS = 5, kH = 4, kE = 24, kF = 10;

TransformerLayerOptions sizes(NormOrder order = NormOrder::kPost) {
  return TransformerLayerOptions(kE, kH).feed_forward_dim(kF).dropout(0.0).norm_order(order);
}

constexpr auto kOrders = {NormOrder::kPost, NormOrder::kPre};

TransformerDecoder randomised(const TransformerDecoderOptions& options,
                              torch::Dtype dtype = torch::kDouble) {
  TransformerDecoder decoder(options);
  randomise(*decoder);
  decoder->to(dtype);
  return decoder;
}

torch::Tensor input(int64_t length) { return torch::randn({kB, length, kE}, torch::kDouble); }

TEST(TransformerDecoder, OfNoLayersIsTheFinalNormByHand) {
  TransformerDecoder decoder(TransformerDecoderOptions(sizes().norm_eps(0.0), 0).final_norm(true));
  const auto x = torch::arange(kE).remainder(2).mul(2.0).sub(1.0).view({1, 1, kE});  // -1, 1, ...
  EXPECT_TENSOR_NEAR(decoder(3.0 * x, x).output, x, 1e-6);
}

class TransformerDecoderOn : public DeviceTest {};
ATTEND_INSTANTIATE_ON_DEVICES(TransformerDecoderOn);

TEST_P(TransformerDecoderOn, AgreesWithTheOracle) {
  for (const auto order : kOrders) {
    auto decoder = placed(TransformerDecoder(sizes(order), 2));
    const auto weights = oracle::weights_of(*decoder);
    const auto target = randn({kB, kT, kE}), memory = randn({kB, kS, kE});
    torch::Tensor expected = target;
    for (const char* layer : {"layers.0.", "layers.1."}) {
      expected = oracle::decoder_layer(expected, memory, oracle::part(weights, layer),
                                       {kH, order == NormOrder::kPre});
    }
    if (order == NormOrder::kPre) expected = oracle::layer_norm(expected, weights, "layer_norm");
    EXPECT_TENSOR_NEAR(decoder(target, memory).output, expected, 8.0 * tolerance());
  }
}

TEST_P(TransformerDecoderOn, CachedStepsAreTheFullPass) {
  for (const auto order : kOrders) {
    auto decoder = placed(TransformerDecoder(sizes(order), 3));
    const auto target = randn({kB, 20, kE}), memory = randn({kB, kS, kE});
    const auto lengths = AttentionMask::key_lengths(torch::tensor({3, 5}).to(options().device()));
    const auto full = decoder(target, memory, AttentionMask(), lengths);
    auto cache = decoder->start(memory);
    for (int64_t t = 0; t < 20; ++t) {
      EXPECT_TENSOR_NEAR(decoder->step(target.narrow(1, t, 1), cache, lengths).output,
                         full.output.narrow(1, t, 1), 2.0 * tolerance());
    }
  }
}

TEST_P(TransformerDecoderOn, EmptySentencesGiveFiniteGradients) {
  for (const auto order : kOrders) {
    auto decoder = placed(TransformerDecoder(sizes(order).attention_dropout(0.5), 2));
    decoder->train();
    const auto target = randn({kB, kT, kE}).requires_grad_();
    const auto memory = randn({kB, kS, kE}).requires_grad_();
    const auto lengths = AttentionMask::key_lengths(torch::tensor({0, 2}).to(options().device()));
    const auto result = decoder(target, memory, lengths, lengths);
    EXPECT_TRUE(result.output.isfinite().all().item<bool>());
    result.output.square().sum().backward();
    expect_finite_gradients({{"target", target}, {"memory", memory}});
    expect_finite_gradients(parameters_of(*decoder));
  }
}

TEST(TransformerDecoder, ChangingTheFutureLeavesThePastUnchanged) {
  auto decoder = randomised({sizes(), 2});
  const auto target = input(kT), memory = input(kS);
  auto changed = target.clone();
  changed.narrow(1, 2, 1).normal_();
  const auto before = decoder(target, memory).output, after = decoder(changed, memory).output;
  EXPECT_TENSOR_NEAR(after.narrow(1, 0, 2), before.narrow(1, 0, 2), 1e-12);
  EXPECT_GT((before - after).narrow(1, 2, 1).abs().max().item<double>(), 0.0);
}

TEST(TransformerDecoder, WeightsAreThoseOfEveryLayerAndDoNotChangeTheOutput) {
  auto decoder = randomised({sizes(), 3});
  const auto target = input(kT), memory = input(kS);
  const auto alone = decoder(target, memory);
  EXPECT_TRUE(alone.self_weights.empty());
  EXPECT_TRUE(alone.cross_weights.empty());
  const auto with =
      decoder(target, memory, AttentionMask(), AttentionMask(), WeightsRequest::kMean);
  EXPECT_TENSOR_EQUAL(with.output, alone.output);
  ASSERT_EQ(with.self_weights.size(), 3u);
  ASSERT_EQ(with.cross_weights.size(), 3u);
  EXPECT_EQ(with.self_weights[0].sizes(), (std::vector<int64_t>{kB, kT, kT}));
  EXPECT_TENSOR_NEAR(with.cross_weights[2].sum(-1), torch::ones({kB, kT}), 1e-12);
}

TEST(TransformerDecoder, ChosenLayersAloneReturnWeights) {
  auto decoder = randomised({sizes(), 3});
  const auto target = input(1), memory = input(kS);
  const WeightsRequest every = WeightsRequest::kPerHead;
  const auto full = decoder(target, memory, AttentionMask(), AttentionMask(), every);
  for (const auto& layers : std::vector<std::vector<int64_t>>{{0}, {-1}, {2, 0}, {-2}}) {
    auto request = every;
    request.layers(layers);
    auto cache = decoder->start(memory);
    const auto step = decoder->step(target, cache, {}, request);
    const auto pass = decoder(target, memory, AttentionMask(), AttentionMask(), request);
    ASSERT_EQ(step.cross_weights.size(), 3u);
    ASSERT_EQ(pass.self_weights.size(), 3u);
    for (int64_t i = 0; i < 3; ++i) {
      SCOPED_TRACE(i);
      const bool chosen =
          std::ranges::any_of(layers, [&](int64_t layer) { return layer == i || layer + 3 == i; });
      const auto at = static_cast<size_t>(i);
      ASSERT_EQ(step.cross_weights[at].defined(), chosen);
      ASSERT_EQ(pass.self_weights[at].defined(), chosen);
      if (!chosen) continue;
      EXPECT_TENSOR_NEAR(step.cross_weights[at], full.cross_weights[at], 1e-12);
      EXPECT_TENSOR_EQUAL(pass.self_weights[at], full.self_weights[at]);
    }
  }
  auto missing = every;
  missing.layers({3});
  EXPECT_THROW_MESSAGE(decoder(target, memory, AttentionMask(), AttentionMask(), missing),
                       c10::ValueError,
                       "WeightsRequest: expected layers of the weights request in [-3, 3), got 3");
}

TEST(TransformerDecoder, StepsWithFixedCachesAndRingsEqualTheFullPass) {
  auto decoder = randomised({sizes(), 2});
  const auto target = input(kT), memory = input(kS);
  const auto full = decoder(target, memory).output;
  for (const auto& self : {KeyValueCache::fixed(kT), KeyValueCache::ring(kT)}) {
    auto cache = decoder->start(memory, self);
    const torch::NoGradGuard no_grad;
    for (int64_t t = 0; t < kT; ++t) {
      EXPECT_TENSOR_NEAR(decoder->step(target.narrow(1, t, 1), cache).output, full.narrow(1, t, 1),
                         1e-12);
    }
  }
}

TEST(TransformerDecoder, AnErrorLeavesEveryCacheAsItWas) {
  auto decoder = randomised({sizes(), 2});
  const auto target = input(2), memory = input(kS);
  const auto full = decoder(target, memory).output;
  auto cache = decoder->start(memory);
  decoder->step(target.narrow(1, 0, 1), cache);
  // The first layer has run when the second one fails.
  const auto whole = cache[1].memory;
  cache[1].memory.value = torch::Tensor();
  EXPECT_ANY_THROW(decoder->step(target.narrow(1, 1, 1), cache));
  EXPECT_EQ(cache[0].self.length(), 1);
  EXPECT_EQ(cache[1].self.length(), 1);
  cache[1].memory = whole;
  EXPECT_TENSOR_NEAR(decoder->step(target.narrow(1, 1, 1), cache).output, full.narrow(1, 1, 1),
                     1e-12);
}

TEST(TransformerDecoder, UnbatchedInputIsTheBatchedOneSqueezed) {
  auto decoder = randomised({sizes(NormOrder::kPre), 2});
  const auto target = input(kT), memory = input(kS);
  EXPECT_TENSOR_NEAR(decoder(target[1], memory[1]).output,
                     decoder(target.narrow(0, 1, 1), memory.narrow(0, 1, 1)).output[0], 1e-13);
}

TEST(TransformerDecoder, GradientsMatchDifferences) {
  auto decoder = randomised(
      {TransformerLayerOptions(6, 2).feed_forward_dim(8).dropout(0.0).activation(Activation::kGelu),
       2});
  const auto target = torch::randn({kB, kT, 6}, torch::kDouble).requires_grad_();
  const auto memory = torch::randn({kB, kS, 6}, torch::kDouble).requires_grad_();
  auto leaves = parameters_of(*decoder);
  leaves.push_back({"target", target});
  leaves.push_back({"memory", memory});
  testing_support::expect_gradients_match_differences(
      [&] { return decoder(target, memory).output; }, leaves);
}

TEST(TransformerDecoder, ACloneIsEqualAndSeparate) {
  for (const auto order : kOrders) {
    auto decoder = randomised({sizes(order), 2});
    decoder->eval();
    const auto clone = std::dynamic_pointer_cast<TransformerDecoderImpl>(decoder->clone());
    testing_support::expect_clone_is_equal_and_separate(*decoder, *clone);
    const auto target = input(kT), memory = input(kS);
    EXPECT_TENSOR_EQUAL(clone->forward(target, memory).output, decoder(target, memory).output);
  }
}

TEST(TransformerDecoder, SavingAndLoadingKeepsEveryWeight) {
  TransformerDecoder loaded(sizes(NormOrder::kPre), 2);
  testing_support::expect_save_load_round_trip(
      randomised({sizes(NormOrder::kPre), 2}, torch::kFloat), loaded);
}

TEST(TransformerDecoder, ErrorsNameWhatWasExpectedAndGot) {
  EXPECT_THROW_MESSAGE(TransformerDecoder(sizes(), -1), c10::ValueError,
                       "TransformerDecoder: expected num_layers >= 0, got -1");
  TransformerDecoder decoder(sizes(), 2);
  const auto memory = torch::zeros({kB, kS, kE});
  EXPECT_THROW_MESSAGE(decoder(torch::zeros({kB, kT, 8}), memory), c10::Error,
                       "TransformerDecoderLayer: expected target with a last size of 24, got "
                       "[2, 3, 8]");
  DecoderCache cache(3);
  EXPECT_THROW_MESSAGE(decoder->step(torch::zeros({kB, 1, kE}), cache), c10::Error,
                       "TransformerDecoder::step: expected a cache of 2 layers, got 3");
}

}  // namespace
}  // namespace attend::transformer_decoder_test
