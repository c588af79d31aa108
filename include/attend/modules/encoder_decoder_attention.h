#pragma once

#include <torch/torch.h>

#include "attend/export.h"
#include "attend/modules/kv_cache.h"
#include "attend/modules/multi_head_cross_attention.h"
#include "attend/modules/multi_head_self_attention.h"
#include "attend/modules/transformer_encoder.h"

namespace attend {

/// What a decoder layer returns.
struct DecoderLayerOutput {
  torch::Tensor output;         // [B, T, E]
  torch::Tensor self_weights;   // [B, H, T, T] or [B, T, T], if requested
  torch::Tensor cross_weights;  // [B, H, T, S] or [B, T, S], if requested
};

/// What a decoder layer keeps between steps.
struct DecoderLayerCache {
  KeyValueCache self;  // the target's keys and values so far
  KeyValue memory;     // the encoder output's keys and values, computed once
};

/// A whole decoder block: causal self-attention over the target, cross-attention to the encoder's
/// output, a feed-forward block; each with a residual, normalised before or after.
///
/// Source: Vaswani et al., 2017, arXiv:1706.03762, section 3.1.
/// Shapes: target [B, T, E], memory [B, S, E] -> output [B, T, E]; or all without B.
/// Throws: c10::ValueError for options, c10::Error for shapes.
/// Note:   the self-attention is always causal; target_mask comes on top of that.
class ATTEND_API EncoderDecoderAttentionImpl
    : public torch::nn::Cloneable<EncoderDecoderAttentionImpl> {
 public:
  EncoderDecoderAttentionImpl(int64_t embed_dim, int64_t num_heads)
      : EncoderDecoderAttentionImpl(TransformerLayerOptions(embed_dim, num_heads)) {}
  explicit EncoderDecoderAttentionImpl(const TransformerLayerOptions& options_);
  void reset() override;
  void pretty_print(std::ostream& stream) const override;

  DecoderLayerOutput forward(const torch::Tensor& target, const torch::Tensor& memory,
                             const AttentionMask& target_mask = {},
                             const AttentionMask& memory_mask = {},
                             const WeightsRequest& weights = WeightsRequest::kNone);

  /// A cache for `step`, with memory [B, S, E] projected once. `self` is an empty cache of the kind
  /// that the self-attention is to have.
  DecoderLayerCache start(const torch::Tensor& memory, const KeyValueCache& self = {}) const;

  /// The new target positions, target [B, T, E], after the cached ones. The batch may be a multiple
  /// of the memory's: rows b * K .. b * K + K - 1 of the target then share row b of the memory, as
  /// the K hypotheses of a beam do, and the memory is not copied. This takes T = 1.
  DecoderLayerOutput step(const torch::Tensor& target, DecoderLayerCache& cache,
                          const AttentionMask& memory_mask = {},
                          const WeightsRequest& weights = WeightsRequest::kNone);

  TransformerLayerOptions options;
  MultiHeadSelfAttention self_attn{nullptr};
  torch::nn::LayerNorm self_attn_layer_norm{nullptr};
  MultiHeadCrossAttention encoder_attn{nullptr};
  torch::nn::LayerNorm encoder_attn_layer_norm{nullptr};
  torch::nn::Linear fc1{nullptr}, fc2{nullptr};
  torch::nn::LayerNorm final_layer_norm{nullptr};

 protected:
  FORWARD_HAS_DEFAULT_ARGS({2, torch::nn::AnyValue(AttentionMask())},
                           {3, torch::nn::AnyValue(AttentionMask())},
                           {4, torch::nn::AnyValue(WeightsRequest())})

 private:
  template <typename SelfAttention, typename CrossAttention>
  DecoderLayerOutput run(const torch::Tensor& target, const SelfAttention& attend_to_self,
                         const CrossAttention& attend_to_memory);
};
TORCH_MODULE(EncoderDecoderAttention);

/// The same class by its other name.
using TransformerDecoderLayerImpl = EncoderDecoderAttentionImpl;
using TransformerDecoderLayer = EncoderDecoderAttention;

}  // namespace attend
