#include "attend/modules/encoder_decoder_attention.h"

#include <gtest/gtest.h>

#include <type_traits>

#include "support/devices.h"
#include "support/module_checks.h"
#include "support/oracle.h"
#include "support/tensor_assert.h"

namespace attend::encoder_decoder_attention_test {
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

EncoderDecoderAttention randomised(const TransformerLayerOptions& options,
                                   torch::Dtype dtype = torch::kDouble) {
  EncoderDecoderAttention layer(options);
  randomise(*layer);
  layer->to(dtype);
  return layer;
}

torch::Tensor input(int64_t length, int64_t batch = kB) {
  return torch::randn({batch, length, kE}, torch::kDouble);
}

static_assert(std::is_same_v<TransformerDecoderLayer, EncoderDecoderAttention>);

TEST(EncoderDecoderAttention, WithZeroSublayersItIsTheNormOfItsInputByHand) {
  const auto x = torch::tensor({{{1.0, -1.0}}}, torch::kDouble);
  for (const auto order : kOrders) {
    EncoderDecoderAttention layer(
        TransformerLayerOptions(2, 2).norm_order(order).norm_eps(0.0).dropout(0.0));
    layer->to(torch::kDouble);
    const torch::NoGradGuard no_grad;
    layer->self_attn->out_proj->weight.zero_();
    layer->encoder_attn->out_proj->weight.zero_();
    layer->encoder_attn->out_proj->bias.copy_(torch::tensor({1.0, -1.0}));
    layer->feed_forward->fc2->weight.zero_();
    layer->final_layer_norm->weight.fill_(3.0);
    // The cross-attention adds [1, -1]: post-norm normalises it away, then multiplies by 3.
    EXPECT_TENSOR_NEAR(layer(x, torch::ones({1, 4, 2}, torch::kDouble)).output,
                       (order == NormOrder::kPost ? 3.0 : 2.0) * x, 1e-15);
  }
}

class EncoderDecoderAttentionOn : public DeviceTest {};
ATTEND_INSTANTIATE_ON_DEVICES(EncoderDecoderAttentionOn);

TEST_P(EncoderDecoderAttentionOn, AgreesWithTheOracle) {
  for (const auto order : kOrders) {
    auto layer = placed(EncoderDecoderAttention(sizes(order).norm_eps(1e-3)));
    const auto target = randn({kB, kT, kE}), memory = randn({kB, kS, kE});
    const auto target_padding = (torch::rand({kB, kT}) < 0.8).to(options().device());
    const auto memory_padding = (torch::rand({kB, kS}) < 0.7).to(options().device());
    const auto expected = oracle::decoder_layer(
        target, memory, oracle::weights_of(*layer),
        {kH, order == NormOrder::kPre, oracle::Activation::kRelu, 1e-3},
        {target_padding.cpu().view({kB, 1, 1, kT}), {}}, {memory_padding.view({kB, 1, 1, kS}), {}});
    EXPECT_TENSOR_NEAR(layer(target, memory, AttentionMask::padding(target_padding),
                             AttentionMask::padding(memory_padding))
                           .output,
                       expected, 4.0 * tolerance());
  }
}

TEST_P(EncoderDecoderAttentionOn, EmptySentencesGiveFiniteGradients) {
  for (const auto order : kOrders) {
    for (const double dropout : {0.0, 0.5}) {
      auto layer = placed(EncoderDecoderAttention(sizes(order).attention_dropout(dropout)));
      layer->train();
      const auto target = randn({kB, kT, kE}).requires_grad_();
      const auto memory = randn({kB, kS, kE}).requires_grad_();
      const auto lengths = AttentionMask::key_lengths(torch::tensor({0, 2}).to(options().device()));
      const auto result = layer(target, memory, lengths, lengths, WeightsRequest::kPerHead);
      EXPECT_TRUE(result.output.isfinite().all().item<bool>());
      EXPECT_EQ(result.self_weights[0].abs().sum().item<double>(), 0.0);
      EXPECT_EQ(result.cross_weights[0].abs().sum().item<double>(), 0.0);
      (result.output.square().sum() + result.cross_weights.square().sum()).backward();
      expect_finite_gradients({{"target", target}, {"memory", memory}});
      expect_finite_gradients(parameters_of(*layer));
    }
  }
}

TEST(EncoderDecoderAttention, ChangingTheFutureLeavesThePastUnchanged) {
  for (const auto order : kOrders) {
    auto layer = randomised(sizes(order));
    const auto target = input(kT), memory = input(kS);
    auto changed = target.clone();
    changed.narrow(1, 2, 1).normal_();
    const auto before = layer(target, memory).output, after = layer(changed, memory).output;
    EXPECT_TENSOR_NEAR(after.narrow(1, 0, 2), before.narrow(1, 0, 2), 1e-13);
    EXPECT_GT((before - after).narrow(1, 2, 1).abs().max().item<double>(), 0.0);
  }
}

TEST(EncoderDecoderAttention, PaddedMemoryIsAsGoodAsNone) {
  auto layer = randomised(sizes());
  const auto target = input(kT), memory = input(kS);
  const auto longer = torch::cat({memory, 100.0 * input(2)}, 1);
  const auto lengths = AttentionMask::key_lengths(torch::tensor({kS, kS}));
  EXPECT_TENSOR_NEAR(layer(target, longer, AttentionMask(), lengths).output,
                     layer(target, memory).output, 1e-12);
}

TEST(EncoderDecoderAttention, PermutingTheMemoryChangesNothing) {
  auto layer = randomised(sizes());
  const auto target = input(kT), memory = input(kS);
  const auto order = torch::randperm(kS, torch::kLong);
  EXPECT_TENSOR_NEAR(layer(target, memory.index_select(1, order)).output,
                     layer(target, memory).output, 1e-12);
}

TEST(EncoderDecoderAttention, WeightsSumToOneAndDoNotChangeTheOutput) {
  auto layer = randomised(sizes());
  const auto target = input(kT), memory = input(kS);
  const auto alone = layer(target, memory);
  EXPECT_FALSE(alone.self_weights.defined());
  EXPECT_FALSE(alone.cross_weights.defined());
  const auto with =
      layer(target, memory, AttentionMask(), AttentionMask(), WeightsRequest::kPerHead);
  EXPECT_TENSOR_EQUAL(with.output, alone.output);
  EXPECT_EQ(with.self_weights.sizes(), (std::vector<int64_t>{kB, kH, kT, kT}));
  EXPECT_EQ(with.cross_weights.sizes(), (std::vector<int64_t>{kB, kH, kT, kS}));
  EXPECT_TENSOR_NEAR(with.self_weights.sum(-1), torch::ones({kB, kH, kT}), 1e-12);
  EXPECT_TENSOR_NEAR(with.cross_weights.sum(-1), torch::ones({kB, kH, kT}), 1e-12);
}

TEST(EncoderDecoderAttention, UnbatchedInputIsTheBatchedOneSqueezed) {
  for (const auto order : kOrders) {
    auto layer = randomised(sizes(order));
    const auto target = input(kT), memory = input(kS);
    const auto batched = layer(target.narrow(0, 1, 1), memory.narrow(0, 1, 1), AttentionMask(),
                               AttentionMask(), WeightsRequest::kMean);
    const auto single =
        layer(target[1], memory[1], AttentionMask(), AttentionMask(), WeightsRequest::kMean);
    EXPECT_TENSOR_NEAR(single.output, batched.output[0], 1e-13);
    EXPECT_TENSOR_NEAR(single.cross_weights, batched.cross_weights[0], 1e-13);
  }
}

TEST(EncoderDecoderAttention, GradientsMatchDifferences) {
  for (const auto order : kOrders) {
    auto layer = randomised(
        TransformerLayerOptions(6, 2).feed_forward_dim(8).dropout(0.0).norm_order(order).activation(
            Activation::kSwish));
    const auto target = torch::randn({kB, kT, 6}, torch::kDouble).requires_grad_();
    const auto memory = torch::randn({kB, kS, 6}, torch::kDouble).requires_grad_();
    auto leaves = parameters_of(*layer);
    leaves.push_back({"target", target});
    leaves.push_back({"memory", memory});
    testing_support::expect_gradients_match_differences(
        [&] { return layer(target, memory).output; }, leaves);
  }
}

TEST(EncoderDecoderAttention, CachedStepsAreTheFullPass) {
  for (const auto order : kOrders) {
    auto layer = randomised(sizes(order));
    const auto target = input(20), memory = input(kS);
    const auto lengths = AttentionMask::key_lengths(torch::tensor({3, 5}));
    const auto full = layer(target, memory, AttentionMask(), lengths, WeightsRequest::kPerHead);
    for (const auto& steps :
         std::vector<std::vector<int64_t>>{std::vector<int64_t>(20, 1), {5, 1, 1, 9, 4}}) {
      auto cache = layer->start(memory);
      for (const auto length : steps) {
        const auto t = cache.self.length();
        const auto step =
            layer->step(target.narrow(1, t, length), cache, lengths, WeightsRequest::kPerHead);
        EXPECT_TENSOR_NEAR(step.output, full.output.narrow(1, t, length), 1e-12);
        EXPECT_TENSOR_NEAR(step.self_weights,
                           full.self_weights.narrow(2, t, length).narrow(3, 0, t + length), 1e-12);
        EXPECT_TENSOR_NEAR(step.cross_weights, full.cross_weights.narrow(2, t, length), 1e-12);
      }
    }
  }
}

TEST(EncoderDecoderAttention, HypothesesThatShareAMemoryAreAsIfItWereRepeated) {
  constexpr int64_t kK = 3;
  for (const auto order : kOrders) {
    auto layer = randomised(sizes(order));
    const auto memory = input(kS);
    const auto may_attend = torch::rand({kB, kS}) < 0.7;
    const auto repeated = [](const torch::Tensor& x) { return x.repeat_interleave(kK, 0); };
    auto shared = layer->start(memory);
    auto separate = layer->start(repeated(memory));
    for (int step = 0; step < 4; ++step) {
      const auto target = input(1, kB * kK);
      for (const auto request : {WeightsRequest::kPerHead, WeightsRequest::kMean}) {
        auto shared_once = shared;  // both requests step from the same state
        auto separate_once = separate;
        const auto a =
            layer->step(target, shared_once, AttentionMask::padding(may_attend), request);
        const auto b = layer->step(target, separate_once,
                                   AttentionMask::padding(repeated(may_attend)), request);
        EXPECT_TENSOR_NEAR(a.output, b.output, 1e-12);
        EXPECT_TENSOR_NEAR(a.self_weights, b.self_weights, 1e-12);
        EXPECT_TENSOR_NEAR(a.cross_weights, b.cross_weights, 1e-12);
      }
      layer->step(target, shared, AttentionMask::padding(may_attend));
      layer->step(target, separate, AttentionMask::padding(repeated(may_attend)));
      const auto rows = torch::tensor({1, 1, 0, 5, 3, 4});
      shared.self.reorder(rows);
      separate.self.reorder(rows);
    }
  }
}

TEST(EncoderDecoderAttention, AnErrorLeavesTheCacheAsItWas) {
  auto layer = randomised(sizes());
  const auto target = input(2), memory = input(kS);
  const auto full = layer(target, memory).output;
  auto cache = layer->start(memory);
  const auto wrong = AttentionMask::key_lengths(torch::tensor({1, 2, 3}));
  for (int64_t t = 0; t < 2; ++t) {
    const auto next = target.narrow(1, t, 1);
    // The self-attention has run when the mask of the memory turns out to be wrong.
    EXPECT_THROW_MESSAGE(
        layer->step(next, cache, wrong), c10::Error,
        "scaled_dot_product_attention: expected key lengths of shape [2], got [3]");
    EXPECT_EQ(cache.self.length(), t);
    EXPECT_TENSOR_NEAR(layer->step(next, cache).output, full.narrow(1, t, 1), 1e-12);
  }
}

TEST(EncoderDecoderAttention, ParameterNamesAreThoseOfHuggingFace) {
  std::vector<std::string> expected;
  for (const char* attention : {"self_attn", "encoder_attn"}) {
    for (const char* projection : {"k_proj", "v_proj", "q_proj", "out_proj"}) {
      for (const char* part : {".weight", ".bias"}) {
        expected.push_back(std::string(attention) + "." + projection + part);
      }
    }
    expected.push_back(std::string(attention) + "_layer_norm.weight");
    expected.push_back(std::string(attention) + "_layer_norm.bias");
  }
  for (const char* name : {"fc1", "fc2", "final_layer_norm"}) {
    expected.push_back(std::string(name) + ".weight");
    expected.push_back(std::string(name) + ".bias");
  }
  EXPECT_EQ(EncoderDecoderAttention(sizes())->named_parameters().keys(), expected);
}

TEST(EncoderDecoderAttention, ACloneIsEqualAndSeparate) {
  auto layer = randomised(sizes(NormOrder::kPre));
  layer->eval();
  const auto clone = std::dynamic_pointer_cast<EncoderDecoderAttentionImpl>(layer->clone());
  testing_support::expect_clone_is_equal_and_separate(*layer, *clone);
  const auto target = input(kT), memory = input(kS);
  EXPECT_TENSOR_EQUAL(clone->forward(target, memory).output, layer(target, memory).output);
}

TEST(EncoderDecoderAttention, SavingAndLoadingKeepsEveryWeight) {
  EncoderDecoderAttention loaded(sizes());
  testing_support::expect_save_load_round_trip(randomised(sizes(), torch::kFloat), loaded);
}

TEST(EncoderDecoderAttention, ErrorsNameWhatWasExpectedAndGot) {
  EXPECT_THROW_MESSAGE(EncoderDecoderAttention(10, 4), c10::ValueError,
                       "TransformerDecoderLayer: expected embed_dim divisible by num_heads, got "
                       "embed_dim 10 and num_heads 4");
  EXPECT_THROW_MESSAGE(EncoderDecoderAttention(sizes().dropout(1.0)), c10::ValueError,
                       "TransformerDecoderLayer: expected 0 <= dropout < 1, got 1");
  for (const auto order : kOrders) {
    auto layer = randomised(sizes(order), torch::kFloat);
    const auto target = torch::zeros({kB, kT, kE}), memory = torch::zeros({kB, kS, kE});
    EXPECT_THROW_MESSAGE(layer(torch::zeros({kB, kT, 8}), memory), c10::Error,
                         "TransformerDecoderLayer: expected target with a last size of 24, got "
                         "[2, 3, 8]");
    EXPECT_THROW_MESSAGE(
        layer(target.to(torch::kDouble), memory), c10::Error,
        "TransformerDecoderLayer: expected target of dtype Float like the weights, "
        "got Double");
    EXPECT_THROW_MESSAGE(layer(target, memory[0]), c10::Error,
                         "MultiHeadCrossAttention: expected memory with 3 dimensions, got [5, 24]");
    EXPECT_THROW_MESSAGE(layer(target, torch::zeros({kB, kS, 8})), c10::Error,
                         "MultiHeadCrossAttention: expected memory of shape [-1, -1, 24] (-1 = "
                         "any), got [2, 5, 8]");
    EXPECT_THROW_MESSAGE(layer(target.narrow(0, 0, 1), memory), c10::Error,
                         "MultiHeadCrossAttention: expected x and memory of one batch size, got x "
                         "[1, 3, 24] and 2 rows of memory");
    DecoderLayerCache empty;
    EXPECT_THROW_MESSAGE(layer->step(target, empty), c10::Error,
                         "TransformerDecoderLayer::step: expected a cache made by start, got an "
                         "empty one");
    auto cache = layer->start(memory);
    EXPECT_THROW_MESSAGE(layer->step(torch::zeros({3, 1, kE}), cache), c10::Error,
                         "TransformerDecoderLayer::step: expected target [2, T, E], or [2 * K, 1, "
                         "E] for K hypotheses a sentence, got [3, 1, 24]");
    EXPECT_THROW_MESSAGE(layer->step(torch::zeros({4, 2, kE}), cache), c10::Error,
                         "TransformerDecoderLayer::step: expected target [2, T, E], or [2 * K, 1, "
                         "E] for K hypotheses a sentence, got [4, 2, 24]");
    EXPECT_THROW_MESSAGE(layer->step(target[0], cache), c10::Error,
                         "TransformerDecoderLayer::step: expected target of shape [-1, -1, 24] (-1 "
                         "= any), got [3, 24]");
    EXPECT_EQ(cache.self.length(), 0);
  }
}

}  // namespace
}  // namespace attend::encoder_decoder_attention_test
