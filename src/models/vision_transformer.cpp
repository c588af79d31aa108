#include "attend/models/vision_transformer.h"

#include <utility>

#include "attend/functional/dropout.h"
#include "detail/check.h"
#include "functional/named_linear.h"

namespace attend {
namespace {

constexpr auto kVitModel = "VisionTransformer";
constexpr double kDeviation = 0.02;  // of the class token and the positions at first, as published

TransformerLayerOptions vit_layer(const VisionTransformerOptions& o) {
  return TransformerLayerOptions(o.embed_dim(), o.num_heads())
      .feed_forward_dim(o.feed_forward_dim())
      .dropout(o.dropout())
      .attention_dropout(o.attention_dropout())
      .activation(Activation::kGelu)
      .norm_order(NormOrder::kPre)
      .norm_eps(o.norm_eps());
}

}  // namespace

VisionTransformerOptions::VisionTransformerOptions(int64_t image_size, int64_t patch_size,
                                                   int64_t num_classes, int64_t embed_dim,
                                                   int64_t num_heads, int64_t num_layers)
    : image_size_(image_size),
      patch_size_(patch_size),
      num_classes_(num_classes),
      embed_dim_(embed_dim),
      num_heads_(num_heads),
      num_layers_(num_layers),
      feed_forward_dim_(4 * embed_dim) {}

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
  const auto side = options.image_size() / options.patch_size();
  patch_projection = register_module(
      "patch_projection",
      torch::nn::Conv2d(torch::nn::Conv2dOptions(options.num_channels(), dim, options.patch_size())
                            .stride(options.patch_size())));
  cls_token = register_parameter("cls_token", torch::randn({1, 1, dim}) * kDeviation);
  position_embeddings = register_parameter("position_embeddings",
                                           torch::randn({1, 1 + side * side, dim}) * kDeviation);
  encoder = register_module("encoder", TransformerEncoder(TransformerEncoderOptions(
                                           vit_layer(options), options.num_layers())));
  classifier = register_module("classifier", torch::nn::Linear(dim, options.num_classes()));
}

void VisionTransformerImpl::pretty_print(std::ostream& stream) const {
  stream << "attend::VisionTransformer(image_size=" << options.image_size()
         << ", patch_size=" << options.patch_size() << ", num_classes=" << options.num_classes()
         << ", embed_dim=" << options.embed_dim() << ", num_heads=" << options.num_heads()
         << ", num_layers=" << options.num_layers() << ")";
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
  x = x + position_embeddings;
  if (is_training()) x = functional::dropout(x, options.dropout());
  auto encoded = encoder(x, AttentionMask(), weights);
  return {functional::linear(encoded.output.select(1, 0), classifier, kVitModel), encoded.output,
          std::move(encoded.weights)};
}

}  // namespace attend
