#pragma once

// For programs that use a whole model.

#include <torch/torch.h>

#include <vector>

#include "attend/export.h"
#include "attend/models/model_holder.h"
#include "attend/modules/positional_encoding.h"
#include "attend/modules/transformer_encoder.h"

namespace attend {

/// Options for `VisionTransformer`. The defaults are the paper's; layers may have any parts.
struct ATTEND_API VisionTransformerOptions {
  VisionTransformerOptions(int64_t image_size, int64_t patch_size, int64_t num_classes,
                           int64_t embed_dim, int64_t num_heads, int64_t num_layers);
  /// Layers of any kind.
  VisionTransformerOptions(int64_t image_size, int64_t patch_size, int64_t num_classes,
                           const TransformerLayerOptions& layer, int64_t num_layers);

  TORCH_ARG(int64_t, image_size);   // height and width, in pixels; a multiple of patch_size
  TORCH_ARG(int64_t, patch_size);   // in pixels
  TORCH_ARG(int64_t, num_classes);  // K
  TORCH_ARG(TransformerLayerOptions, layer);                    // of every layer of the encoder
  TORCH_ARG(int64_t, num_layers);                               // of the encoder
  TORCH_ARG(PositionKind, positions) = PositionKind::kLearned;  // or kNone
  TORCH_ARG(int64_t, num_channels) = 3;                         // C
  TORCH_ARG(double, embedding_dropout) = 0.0;                   // [0, 1)

 public:
  // Shortcuts to the layer's options.
  int64_t embed_dim() const { return layer_.embed_dim(); }
  int64_t num_heads() const { return layer_.num_heads(); }
  int64_t feed_forward_dim() const { return layer_.feed_forward_dim(); }
  VisionTransformerOptions& feed_forward_dim(int64_t value);
  VisionTransformerOptions& norm_eps(double value);
  VisionTransformerOptions& dropout(double value);            // of embeddings and sublayers; [0, 1)
  VisionTransformerOptions& attention_dropout(double value);  // on attention weights; [0, 1)
};

/// What `VisionTransformer::run` returns. Token 0 is the class token, token 1 + i the i-th of the
/// N patches, row by row.
struct VisionTransformerOutput {
  torch::Tensor logits;                // [B, K]
  torch::Tensor hidden;                // [B, 1 + N, E], after the last norm
  std::vector<torch::Tensor> weights;  // a layer each, if requested: [B, H, 1 + N, 1 + N] or their
                                       // mean [B, 1 + N, 1 + N]
};

/// A Transformer encoder (pre-norm by default) that classifies images by a class token. Images are
/// split into patches.
///
/// Source: Dosovitskiy et al., 2021, arXiv:2010.11929, equations 1 to 4.
/// Shapes: images [B, C, image_size, image_size] -> logits [B, K].
/// Throws: c10::ValueError for options, c10::Error for shapes.
class ATTEND_API VisionTransformerImpl : public torch::nn::Cloneable<VisionTransformerImpl> {
 public:
  explicit VisionTransformerImpl(const VisionTransformerOptions& options_);
  void reset() override;
  void pretty_print(std::ostream& stream) const override;
  torch::Tensor forward(const torch::Tensor& images);

  /// `forward` that also returns the tokens and the attention weights of every layer, or of
  /// chosen ones.
  VisionTransformerOutput run(const torch::Tensor& images,
                              const WeightsRequest& weights = WeightsRequest::kNone);

  VisionTransformerOptions options;
  torch::nn::Conv2d patch_projection{nullptr};
  torch::Tensor cls_token;            // [1, 1, E]
  torch::Tensor position_embeddings;  // [1, 1 + N, E]; only with PositionKind::kLearned
  TransformerEncoder encoder{nullptr};
  torch::nn::Linear classifier{nullptr};
};
class VisionTransformer : public ModelHolder<VisionTransformerImpl> {
 public:
  using ModelHolder<VisionTransformerImpl>::ModelHolder;
};

}  // namespace attend
