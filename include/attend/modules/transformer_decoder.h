#pragma once

// For those who build models of layers.

#include <torch/torch.h>

#include <vector>

#include "attend/export.h"
#include "attend/modules/kv_cache.h"
#include "attend/modules/multi_head_cross_attention.h"
#include "attend/modules/multi_head_self_attention.h"
#include "attend/modules/transformer_layer.h"

namespace attend {

/// What a decoder layer returns.
struct DecoderLayerOutput {
  torch::Tensor output;         // [B, T, E]
  torch::Tensor self_weights;   // [B, H, T, T] or [B, T, T], if requested
  torch::Tensor cross_weights;  // [B, H, T, S] or [B, T, S], if requested
};

/// The state of a decoder layer between steps.
struct DecoderLayerCache {
  KeyValueCache self;  // the target's keys and values so far
  KeyValue memory;     // the encoder output's keys and values, computed once
};

/// One layer of a decoder: causal self-attention over the target, cross-attention to the encoder's
/// output and a feed-forward block, each with a residual and a norm before or after it.
///
/// Source: Vaswani et al., 2017, arXiv:1706.03762, section 3.1.
/// Shapes: target [B, T, E], memory [B, S, E] -> output [B, T, E]; or all without B.
/// Throws: c10::ValueError for options, c10::Error for shapes.
/// Note:   the self-attention is always causal; target_mask is joined with that.
class ATTEND_API TransformerDecoderLayerImpl
    : public torch::nn::Cloneable<TransformerDecoderLayerImpl> {
 public:
  TransformerDecoderLayerImpl(int64_t embed_dim, int64_t num_heads)
      : TransformerDecoderLayerImpl(TransformerLayerOptions(embed_dim, num_heads)) {}
  explicit TransformerDecoderLayerImpl(const TransformerLayerOptions& options_);
  void reset() override;
  void train(bool on = true) override;
  void pretty_print(std::ostream& stream) const override;

  DecoderLayerOutput forward(const torch::Tensor& target, const torch::Tensor& memory,
                             const AttentionMask& target_mask = {},
                             const AttentionMask& memory_mask = {},
                             const WeightsRequest& weights = WeightsRequest::kNone);

  /// A cache for `step`, with the projections of memory [B, S, E]. `self`: an empty cache of the
  /// kind to use for the self-attention.
  DecoderLayerCache start(const torch::Tensor& memory, const KeyValueCache& self = {}) const;

  /// Computes the new target positions, target [B, T, E], which follow the cached ones. The batch
  /// may be K times that of the memory: rows b * K .. b * K + K - 1 of the target then share row b
  /// of the memory, such as the K hypotheses of a beam, without a copy of the memory. This requires
  /// T = 1.
  DecoderLayerOutput step(const torch::Tensor& target, DecoderLayerCache& cache,
                          const AttentionMask& memory_mask = {},
                          const WeightsRequest& weights = WeightsRequest::kNone);

  TransformerLayerOptions options;
  MultiHeadSelfAttention self_attn{nullptr};
  Norm self_attn_layer_norm{nullptr};
  MultiHeadCrossAttention encoder_attn{nullptr};
  Norm encoder_attn_layer_norm{nullptr};
  FeedForward feed_forward{nullptr};  // its weights are registered directly in this module
  Norm final_layer_norm{nullptr};

 protected:
  FORWARD_HAS_DEFAULT_ARGS({2, torch::nn::AnyValue(AttentionMask())},
                           {3, torch::nn::AnyValue(AttentionMask())},
                           {4, torch::nn::AnyValue(WeightsRequest())})

 private:
  template <typename SelfAttention, typename CrossAttention>
  DecoderLayerOutput run(const torch::Tensor& target, const SelfAttention& attend_to_self,
                         const CrossAttention& attend_to_memory);
};
TORCH_MODULE(TransformerDecoderLayer);

/// What a decoder returns.
struct DecoderOutput {
  torch::Tensor output;  // [B, T, E]
  // One tensor per layer, if requested; undefined for layers without a request.
  std::vector<torch::Tensor> self_weights;
  std::vector<torch::Tensor> cross_weights;
};

/// The state of a decoder between steps: one cache per layer.
using DecoderCache = std::vector<DecoderLayerCache>;

/// Options for `TransformerDecoder`.
struct ATTEND_API TransformerDecoderOptions {
  TransformerDecoderOptions(const TransformerLayerOptions& layer, int64_t num_layers);

  TORCH_ARG(TransformerLayerOptions, layer);  // of every layer
  TORCH_ARG(int64_t, num_layers);             // may be 0
  TORCH_ARG(bool, final_norm);                // a norm after the last layer; default: with pre-norm
};

/// A stack of decoder layers, each with its own initial weights.
///
/// Source: Vaswani et al., 2017, arXiv:1706.03762, section 3.1.
/// Shapes: target [B, T, E], memory [B, S, E] -> output [B, T, E]; or without B.
/// Throws: c10::ValueError for options, c10::Error for shapes.
class ATTEND_API TransformerDecoderImpl : public torch::nn::Cloneable<TransformerDecoderImpl> {
 public:
  TransformerDecoderImpl(const TransformerLayerOptions& layer, int64_t num_layers)
      : TransformerDecoderImpl(TransformerDecoderOptions(layer, num_layers)) {}
  explicit TransformerDecoderImpl(const TransformerDecoderOptions& options_);
  void reset() override;
  void pretty_print(std::ostream& stream) const override;

  DecoderOutput forward(const torch::Tensor& target, const torch::Tensor& memory,
                        const AttentionMask& target_mask = {},
                        const AttentionMask& memory_mask = {},
                        const WeightsRequest& weights = WeightsRequest::kNone);

  /// A cache for `step`, with the projections of memory [B, S, E] by every layer. Each layer's
  /// self-attention gets a copy of `self`, an empty cache of any kind.
  DecoderCache start(const torch::Tensor& memory, const KeyValueCache& self = {}) const;

  /// Computes new target positions; see `TransformerDecoderLayer::step`.
  DecoderOutput step(const torch::Tensor& target, DecoderCache& cache,
                     const AttentionMask& memory_mask = {},
                     const WeightsRequest& weights = WeightsRequest::kNone);

  TransformerDecoderOptions options;
  torch::nn::ModuleList layers{nullptr};  // of TransformerDecoderLayer
  Norm layer_norm{nullptr};               // only with final_norm

 protected:
  FORWARD_HAS_DEFAULT_ARGS({2, torch::nn::AnyValue(AttentionMask())},
                           {3, torch::nn::AnyValue(AttentionMask())},
                           {4, torch::nn::AnyValue(WeightsRequest())})

 private:
  template <typename RunLayer>
  DecoderOutput run(const torch::Tensor& target, const WeightsRequest& weights,
                    const RunLayer& run_layer);
};
TORCH_MODULE(TransformerDecoder);

}  // namespace attend
