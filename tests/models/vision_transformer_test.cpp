#include "attend/models/vision_transformer.h"

#include <gtest/gtest.h>

#include "support/module_checks.h"
#include "support/tensor_assert.h"

namespace attend::vision_transformer_test {
namespace {

using testing_support::expect_clone_is_equal_and_separate;
using testing_support::expect_save_load_round_trip;
using testing_support::randomise;

constexpr int64_t kB = 2, kC = 3, kSize = 12, kPatch = 4, kClasses = 5, kE = 8, kH = 2, kLayers = 2;
constexpr int64_t kPatches = 9;

VisionTransformer small() {
  VisionTransformer model(
      VisionTransformerOptions(kSize, kPatch, kClasses, kE, kH, kLayers).feed_forward_dim(14));
  randomise(*model);
  model->to(torch::kDouble);
  model->eval();
  return model;
}

torch::Tensor images() { return torch::randn({kB, kC, kSize, kSize}, torch::kDouble); }

TEST(VisionTransformer, ShapesAndWeights) {
  auto model = small();
  const auto x = images();
  const auto result = model->run(x, WeightsRequest::kPerHead);
  EXPECT_EQ(result.logits.sizes(), torch::IntArrayRef({kB, kClasses}));
  EXPECT_EQ(result.hidden.sizes(), torch::IntArrayRef({kB, 1 + kPatches, kE}));
  ASSERT_EQ(result.weights.size(), static_cast<size_t>(kLayers));
  for (const auto& weights : result.weights) {
    EXPECT_EQ(weights.sizes(), torch::IntArrayRef({kB, kH, 1 + kPatches, 1 + kPatches}));
    EXPECT_TENSOR_NEAR(weights.sum(-1), torch::ones({kB, kH, 1 + kPatches}, torch::kDouble), 1e-12);
  }
  EXPECT_TENSOR_EQUAL(model(x), result.logits);
}

TEST(VisionTransformer, APatchIsReadRowByRow) {
  // The tokens before the encoder, by the definition: each patch flattened times the kernel.
  auto model = small();
  const auto x = images();
  const auto kernel = model->patch_projection->weight.view({kE, -1});
  const auto tokens = model->patch_projection(x).flatten(2).transpose(1, 2);
  for (int64_t row = 0; row < 3; ++row) {
    for (int64_t column = 0; column < 3; ++column) {
      const auto patch = x.narrow(2, row * kPatch, kPatch).narrow(3, column * kPatch, kPatch);
      EXPECT_TENSOR_NEAR(
          tokens.select(1, row * 3 + column),
          torch::matmul(patch.reshape({kB, -1}), kernel.t()) + model->patch_projection->bias,
          1e-12);
    }
  }
}

TEST(VisionTransformer, WithoutPositionsTheOrderOfPatchesDoesNotMatter) {
  auto model = small();
  const auto x = images();
  const auto turned = x.flip(2).view({kB, kC, 3, kPatch, kSize}).flip(3).reshape(x.sizes());
  EXPECT_GT((model(x) - model(turned)).abs().max().item<double>(), 1e-6);
  {
    const torch::NoGradGuard no_grad;
    model->position_embeddings.zero_();
  }
  EXPECT_TENSOR_NEAR(model(x), model(turned), 1e-12);  // rows of patches in reverse
}

// Layers as Llama's, with nothing but rotary positions to tell patches apart.
VisionTransformerOptions with_other_layers() {
  return VisionTransformerOptions(
             kSize, kPatch, kClasses,
             TransformerLayerOptions(
                 MultiHeadAttentionOptions(kE, kH).num_kv_heads(1).rotary(RotaryOptions{}))
                 .feed_forward(FeedForwardOptions(kE, 6).gated(true).activation(Activation::kSwish))
                 .norm(NormKind::kRms)
                 .norm_order(NormOrder::kPre)
                 .dropout(0.0),
             kLayers)
      .positions(PositionKind::kNone)
      .num_channels(2);
}

TEST(VisionTransformer, ItsLayersAreOfAnyKind) {
  VisionTransformer model(with_other_layers());
  randomise(*model);
  model->to(torch::kDouble);
  const auto x = torch::randn({kB, 2, kSize, kSize}, torch::kDouble);
  const auto turned = x.flip(2).view({kB, 2, 3, kPatch, kSize}).flip(3).reshape(x.sizes());
  EXPECT_GT((model(x) - model(turned)).abs().max().item<double>(), 1e-6);
  model(x).sum().backward();
  testing_support::expect_finite_gradients(testing_support::parameters_of(*model));
  EXPECT_FALSE(model->position_embeddings.defined());
}

TEST(VisionTransformer, ClonesAndFiles) {
  auto model = small();
  expect_clone_is_equal_and_separate(*model, *model->clone());
  auto other = small();
  expect_save_load_round_trip(model, other);
}

TEST(VisionTransformer, ErrorsNameWhatWasExpectedAndGot) {
  EXPECT_THROW_MESSAGE(VisionTransformer(VisionTransformerOptions(12, 5, 2, 8, 2, 1)),
                       c10::ValueError,
                       "VisionTransformer: expected image_size divisible by patch_size, got "
                       "image_size 12 and patch_size 5");
  EXPECT_THROW_MESSAGE(
      VisionTransformer(
          VisionTransformerOptions(12, 4, 2, 8, 2, 1).positions(PositionKind::kSinusoidal)),
      c10::ValueError, "VisionTransformer: expected positions kLearned or kNone, got sinusoidal");
  auto model = small();
  EXPECT_THROW_MESSAGE(
      model(torch::zeros({1, 3, 12, 8}, torch::kDouble)), c10::Error,
      "VisionTransformer: expected images of shape [-1, 3, 12, 12] (-1 = any), got "
      "[1, 3, 12, 8]");
  EXPECT_THROW_MESSAGE(model(torch::zeros({1, 3, 12, 12})), c10::Error,
                       "VisionTransformer: expected images of dtype Double like the weights, got "
                       "Float");
}

}  // namespace
}  // namespace attend::vision_transformer_test
