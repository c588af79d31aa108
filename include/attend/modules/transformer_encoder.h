#pragma once

// For those who build models of layers.

#include <torch/torch.h>

#include <vector>

#include "attend/export.h"
#include "attend/modules/multi_head_self_attention.h"
#include "attend/modules/transformer_layer.h"

namespace attend {

/// One layer of an encoder: self-attention and a feed-forward block, each with a residual.
///
/// Source: Vaswani et al., 2017, arXiv:1706.03762, section 3.1.
/// Shapes: x [B, S, E] -> output [B, S, E], weights [B, H, S, S] or [B, S, S]; or without B.
/// Throws: c10::ValueError for options, c10::Error for shapes.
class ATTEND_API TransformerEncoderLayerImpl
    : public torch::nn::Cloneable<TransformerEncoderLayerImpl> {
 public:
  TransformerEncoderLayerImpl(int64_t embed_dim, int64_t num_heads)
      : TransformerEncoderLayerImpl(TransformerLayerOptions(embed_dim, num_heads)) {}
  explicit TransformerEncoderLayerImpl(const TransformerLayerOptions& options_);
  void reset() override;
  void train(bool on = true) override;
  void pretty_print(std::ostream& stream) const override;
  AttentionOutput forward(const torch::Tensor& x, const AttentionMask& mask = {},
                          const WeightsRequest& weights = WeightsRequest::kNone);

  /// The new positions x [B, T, E] attend causally to each other and to the cached ones, and are
  /// appended to the cache. `mask` is joined with causality. An error leaves the cache unchanged.
  AttentionOutput step(const torch::Tensor& x, KeyValueCache& cache, const AttentionMask& mask = {},
                       const WeightsRequest& weights = WeightsRequest::kNone);

  TransformerLayerOptions options;
  MultiHeadSelfAttention self_attn{nullptr};
  Norm self_attn_layer_norm{nullptr};
  FeedForward feed_forward{nullptr};  // its weights are registered directly in this module
  Norm final_layer_norm{nullptr};

 private:
  template <typename SelfAttention>
  AttentionOutput run(const torch::Tensor& x, const SelfAttention& attend_to_self);

 protected:
  FORWARD_HAS_DEFAULT_ARGS({1, torch::nn::AnyValue(AttentionMask())},
                           {2, torch::nn::AnyValue(WeightsRequest())})
};
TORCH_MODULE(TransformerEncoderLayer);

/// What an encoder returns.
struct EncoderOutput {
  torch::Tensor output;                // [B, S, E]
  std::vector<torch::Tensor> weights;  // one tensor a layer, if requested; undefined for layers
                                       // that were not
};

/// Options for `TransformerEncoder`.
struct ATTEND_API TransformerEncoderOptions {
  TransformerEncoderOptions(const TransformerLayerOptions& layer, int64_t num_layers);

  TORCH_ARG(TransformerLayerOptions, layer);  // of every layer
  TORCH_ARG(int64_t, num_layers);             // may be 0
  TORCH_ARG(bool, final_norm);                // a norm after the last layer; default: with pre-norm
};

/// A stack of encoder layers, each with its own initial weights.
///
/// Source: Vaswani et al., 2017, arXiv:1706.03762, section 3.1.
/// Shapes: x [B, S, E] -> output [B, S, E]; or without B.
/// Throws: c10::ValueError for options, c10::Error for shapes.
class ATTEND_API TransformerEncoderImpl : public torch::nn::Cloneable<TransformerEncoderImpl> {
 public:
  TransformerEncoderImpl(const TransformerLayerOptions& layer, int64_t num_layers)
      : TransformerEncoderImpl(TransformerEncoderOptions(layer, num_layers)) {}
  explicit TransformerEncoderImpl(const TransformerEncoderOptions& options_);
  void reset() override;
  void pretty_print(std::ostream& stream) const override;
  EncoderOutput forward(const torch::Tensor& x, const AttentionMask& mask = {},
                        const WeightsRequest& weights = WeightsRequest::kNone);

  /// The new positions x [B, T, E] of a causal stack, with a cache for each layer.
  /// Throws: c10::Error unless there are as many caches as layers.
  EncoderOutput step(const torch::Tensor& x, std::vector<KeyValueCache>& caches,
                     const AttentionMask& mask = {},
                     const WeightsRequest& weights = WeightsRequest::kNone);

  TransformerEncoderOptions options;
  torch::nn::ModuleList layers{nullptr};  // of TransformerEncoderLayer
  Norm layer_norm{nullptr};               // only with final_norm

 protected:
  FORWARD_HAS_DEFAULT_ARGS({1, torch::nn::AnyValue(AttentionMask())},
                           {2, torch::nn::AnyValue(WeightsRequest())})

 private:
  template <typename RunLayer>
  EncoderOutput run(const torch::Tensor& x, const WeightsRequest& weights,
                    const RunLayer& run_layer);
};
TORCH_MODULE(TransformerEncoder);

}  // namespace attend
