// A mask is lowered once for all layers of a stack, and says the same as if each layer had lowered
// it.
#include <ATen/record_function.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "attend/modules/transformer_decoder.h"
#include "attend/modules/transformer_encoder.h"
#include "support/module_checks.h"
#include "support/tensor_assert.h"

namespace attend::shared_mask_test {
namespace {

constexpr int64_t kB = 2, kE = 16, kH = 2, kLayers = 6;

using Counts = std::map<std::string, int64_t>;
Counts& counts_of_thread() {
  static thread_local Counts counts;
  return counts;
}

// How often `work` calls each operation of LibTorch.
template <typename Work>
Counts operations_of(const Work& work) {
  counts_of_thread().clear();
  const auto handle = at::addThreadLocalCallback(at::RecordFunctionCallback(
      [](const at::RecordFunction& f) -> std::unique_ptr<at::ObserverContext> {
        ++counts_of_thread()[f.name()];
        return nullptr;
      }));
  work();
  at::removeCallback(handle);
  return counts_of_thread();
}

TransformerLayerOptions layer_options() {
  return TransformerLayerOptions(kE, kH).feed_forward_dim(20).dropout(0.0);
}

template <typename Module>
Module randomised(Module module) {
  torch::manual_seed(5);
  testing_support::randomise(*module);
  return module;
}

TransformerEncoder encoder(const TransformerLayerOptions& options = layer_options()) {
  return randomised(TransformerEncoder(TransformerEncoderOptions(options, kLayers)));
}

torch::Tensor layer_by_layer(TransformerEncoder& stack, torch::Tensor x,
                             const AttentionMask& mask) {
  for (const auto& layer : *stack->layers) {
    x = layer->as<TransformerEncoderLayer>()->forward(x, mask).output;
  }
  return stack->layer_norm ? stack->layer_norm(x) : x;
}

AttentionMask padded_causal(int64_t length) {
  return AttentionMask::causal() & AttentionMask::key_lengths(torch::tensor({length, length - 9}));
}

TEST(SharedMask, AnEncoderLowersItOnce) {
  constexpr int64_t kLength = 150;
  auto stack = encoder();
  const auto x = torch::randn({kB, kLength, kE});
  const auto bias = torch::randn({kB, kH, kLength, kLength}, torch::kDouble);
  const auto mask = padded_causal(kLength) & AttentionMask(bias);
  torch::Tensor output, expected;
  auto shared = operations_of([&] { output = stack(x, mask).output; });
  auto alone = operations_of([&] { expected = layer_by_layer(stack, x, mask); });
  EXPECT_TENSOR_EQUAL(output, expected);
  for (const auto* operation : {"aten::arange", "aten::lt"}) {
    EXPECT_GT(shared[operation], 0) << operation;
    EXPECT_EQ(alone[operation], kLayers * shared[operation]) << operation;
  }
}

TEST(SharedMask, GradientsAreThoseOfLayersThatLowerItThemselves) {
  constexpr int64_t kLength = 140;
  auto stack = encoder();
  const auto x = torch::randn({kB, kLength, kE});
  for (const int64_t heads : {1, 2}) {
    const auto bias = torch::randn({1, heads, kLength, kLength}).requires_grad_();
    const auto gradients = [&](const auto& run) {
      const auto leaf = x.detach().clone().requires_grad_();
      return torch::autograd::grad({run(leaf, padded_causal(kLength) & AttentionMask(bias))},
                                   {leaf, bias});
    };
    const auto found =
        gradients([&](const auto& y, const auto& mask) { return stack(y, mask).output.sum(); });
    const auto wanted = gradients(
        [&](const auto& y, const auto& mask) { return layer_by_layer(stack, y, mask).sum(); });
    EXPECT_TENSOR_EQUAL(found[0], wanted[0]);
    EXPECT_TENSOR_NEAR(found[1], wanted[1], 1e-6 * wanted[1].abs().max().item<double>());
  }
}

// A key that every query sees stands behind the others, where slopes do not reach: they become a bias.
TEST(SharedMask, BiasesOfLayersByDistanceAreMadeOnce) {
  auto options = layer_options();
  options.self_attention(MultiHeadAttentionOptions(kE, kH).alibi(true).add_zero_attn(true));
  auto stack = encoder(options);
  const auto x = torch::randn({kB, 30, kE});
  const AttentionMask mask(torch::randn({30, 30}));
  torch::Tensor output, expected;
  auto shared = operations_of([&] { output = stack(x, mask).output; });
  auto alone = operations_of([&] { expected = layer_by_layer(stack, x, mask); });
  EXPECT_TENSOR_EQUAL(output, expected);
  EXPECT_GT(shared["aten::abs"], 0);
  EXPECT_EQ(alone["aten::abs"], kLayers * shared["aten::abs"]);
}

TEST(SharedMask, ADecoderLowersBothOnce) {
  constexpr int64_t kTarget = 140, kSource = 150;
  auto stack = randomised(TransformerDecoder(TransformerDecoderOptions(layer_options(), kLayers)));
  const auto target = torch::randn({kB, kTarget, kE}), memory = torch::randn({kB, kSource, kE});
  const auto of_target = AttentionMask::key_lengths(torch::tensor({kTarget, kTarget - 3})),
             of_memory = AttentionMask::key_lengths(torch::tensor({kSource - 4, kSource}));
  torch::Tensor output;
  auto shared = operations_of([&] { output = stack(target, memory, of_target, of_memory).output; });
  EXPECT_EQ(shared["aten::lt"], 2);  // a row of keys for each of the two
  auto x = target;
  for (const auto& layer : *stack->layers) {
    x = layer->as<TransformerDecoderLayer>()->forward(x, memory, of_target, of_memory).output;
  }
  EXPECT_TENSOR_EQUAL(output, stack->layer_norm ? stack->layer_norm(x) : x);
}

TEST(SharedMask, NothingIsKeptFromOneForwardPassToTheNext) {
  constexpr int64_t kLength = 150;
  auto stack = encoder();
  const auto x = torch::randn({kB, kLength, kE});
  auto seen = torch::rand({kLength, kLength}) < 0.7;
  const AttentionMask mask(seen);
  const auto before = stack(x, mask).output;
  seen.logical_not_();
  EXPECT_FALSE(torch::equal(stack(x, mask).output, before));
  EXPECT_TENSOR_EQUAL(stack(x, mask).output, layer_by_layer(stack, x, mask));
}

TEST(SharedMask, SeveralThreadsMayUseOne) {
  const auto alone = AttentionMask::alibi(torch::rand({kH})) & AttentionMask::causal();
  const auto mask = alone.shared_by_layers();
  const std::vector<int64_t> lengths{140, 150, 160};
  std::vector<torch::Tensor> inputs, outputs(lengths.size());
  for (const auto length : lengths) inputs.push_back(torch::randn({kB, kH, length, 8}));
  const auto attend = [](const torch::Tensor& x, const AttentionMask& given) {
    return functional::scaled_dot_product_attention(x, x, x, given).output;
  };
  std::vector<std::thread> threads;
  for (size_t i = 0; i < lengths.size(); ++i) {
    threads.emplace_back([&, i] {
      for (int repeat = 0; repeat < 20; ++repeat) outputs[i] = attend(inputs[i], mask);
    });
  }
  for (auto& thread : threads) thread.join();
  for (size_t i = 0; i < lengths.size(); ++i) {
    EXPECT_TENSOR_EQUAL(outputs[i], attend(inputs[i], alone));
  }
}

// One mask of several sizes, dtypes and modes of recording: never the answer to another question.
TEST(SharedMask, AnswersEachSizeAndDtypeForItself) {
  const auto alone = AttentionMask::alibi(torch::rand({kH}));
  const auto mask = alone.shared_by_layers();
  for (const int64_t length : {150, 20, 160}) {
    for (const auto type : {torch::kFloat, torch::kDouble}) {
      const auto x = torch::randn({kB, kH, length, 8}, type);
      const auto with = [&](const AttentionMask& given) {
        return functional::scaled_dot_product_attention(x, x, x, given).output;
      };
      EXPECT_TENSOR_EQUAL(with(mask & AttentionMask::causal()),
                          with(alone & AttentionMask::causal()));
    }
  }
}

}  // namespace
}  // namespace attend::shared_mask_test
