#include "attend/models/vision_transformer.h"

#include <utility>

#include "attend/functional/dropout.h"
#include "detail/check.h"
#include "detail/print.h"
#include "functional/named_linear.h"
#include "modules/enum_names.h"
#include "modules/initial_weights.h"

namespace attend {
namespace {

constexpr auto kVitModel = "VisionTransformer";
constexpr double kDeviation = 0.02;  // of the initial class token and positions, as published

}  // namespace

VisionTransformerOptions::VisionTransformerOptions(int64_t image_size, int64_t patch_size,
                                                   int64_t num_classes, int64_t embed_dim,
                                                   int64_t num_heads, int64_t num_layers)
    : VisionTransformerOptions(image_size, patch_size, num_classes,
                               TransformerLayerOptions(embed_dim, num_heads)
                                   .activation(Activation::kGelu)
                                   .norm_order(NormOrder::kPre)
                                   .norm_eps(1e-12)
                                   .dropout(0.0),
                               num_layers) {}

VisionTransformerOptions::VisionTransformerOptions(int64_t image_size, int64_t patch_size,
                                                   int64_t num_classes,
                                                   const TransformerLayerOptions& layer,
                                                   int64_t num_layers)
    : image_size_(image_size),
      patch_size_(patch_size),
      num_classes_(num_classes),
      layer_(layer),
      num_layers_(num_layers) {}

VisionTransformerOptions& VisionTransformerOptions::feed_forward_dim(int64_t value) {
  layer_.feed_forward_dim(value);
  return *this;
}

VisionTransformerOptions& VisionTransformerOptions::norm_eps(double value) {
  layer_.norm_eps(value);
  return *this;
}

VisionTransformerOptions& VisionTransformerOptions::dropout(double value) {
  layer_.dropout(value);
  return embedding_dropout(value);
}

VisionTransformerOptions& VisionTransformerOptions::attention_dropout(double value) {
  layer_.attention_dropout(value);
  return *this;
}

VisionTransformerImpl::VisionTransformerImpl(const VisionTransformerOptions& options_)
    : options(options_) {
  VisionTransformerImpl::reset();
}

void VisionTransformerImpl::reset() {
  detail::check_positive(kVitModel, "image_size", options.image_size());
  detail::check_positive(kVitModel, "patch_size", options.patch_size());
  detail::check_positive(kVitModel, "num_classes", options.num_classes());
  detail::check_positive(kVitModel, "num_channels", options.num_channels());
  TORCH_CHECK_VALUE(options.image_size() % options.patch_size() == 0, kVitModel,
                    ": expected image_size divisible by patch_size, got image_size ",
                    options.image_size(), " and patch_size ", options.patch_size());
  const auto dim = options.embed_dim();
  detail::check_heads(kVitModel, dim, options.num_heads());
  detail::check_probability(kVitModel, "embedding_dropout", options.embedding_dropout());
  TORCH_CHECK_VALUE(
      options.positions() == PositionKind::kLearned || options.positions() == PositionKind::kNone,
      kVitModel, ": expected positions kLearned or kNone, got ",
      detail::name_of(options.positions()));
  const auto side = options.image_size() / options.patch_size();
  patch_projection = register_module(
      "patch_projection",
      torch::nn::Conv2d(torch::nn::Conv2dOptions(options.num_channels(), dim, options.patch_size())
                            .stride(options.patch_size())));
  cls_token = register_parameter("cls_token", torch::randn({1, 1, dim}) * kDeviation);
  if (options.positions() == PositionKind::kLearned) {
    position_embeddings = register_parameter("position_embeddings",
                                             torch::randn({1, 1 + side * side, dim}) * kDeviation);
  }
  encoder = register_module("encoder", TransformerEncoder(options.layer(), options.num_layers()));
  classifier = register_module(
      "classifier", detail::make_plain_linear(dim, options.num_classes(), /*bias=*/true));
}

void VisionTransformerImpl::pretty_print(std::ostream& stream) const {
  const auto& o = options;
  const VisionTransformerOptions usual(o.image_size(), o.patch_size(), o.num_classes(), o.layer(),
                                       o.num_layers());
  detail::Printer(stream, kVitModel)
      .value("image_size", o.image_size())
      .value("patch_size", o.patch_size())
      .value("num_classes", o.num_classes())
      .value("embed_dim", o.embed_dim())
      .value("num_heads", o.num_heads())
      .value("num_layers", o.num_layers())
      .changed("positions", detail::name_of(o.positions()), detail::name_of(usual.positions()))
      .changed("num_channels", o.num_channels(), usual.num_channels())
      .changed("embedding_dropout", o.embedding_dropout(), usual.embedding_dropout())
      .end();
}

torch::Tensor VisionTransformerImpl::forward(const torch::Tensor& images) {
  return run(images).logits;
}

VisionTransformerOutput VisionTransformerImpl::run(const torch::Tensor& images,
                                                   const WeightsRequest& weights) {
  detail::check_shape(kVitModel, "images", images,
                      {-1, options.num_channels(), options.image_size(), options.image_size()});
  detail::check_same_kind(kVitModel, "images", images, "the weights", patch_projection->weight);
  const auto patches = patch_projection(images).flatten(2).transpose(1, 2);  // [B, N, E]
  auto x = torch::cat({cls_token.expand({images.size(0), -1, -1}), patches}, 1);
  if (position_embeddings.defined()) x = x + position_embeddings;
  if (is_training()) x = functional::dropout(x, options.embedding_dropout());
  auto encoded = encoder(x, AttentionMask(), weights);
  return {functional::linear(encoded.output.select(1, 0), classifier, kVitModel), encoded.output,
          std::move(encoded.weights)};
}

}  // namespace attend
