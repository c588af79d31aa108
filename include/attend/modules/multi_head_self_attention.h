#pragma once

// For those who build models of layers.

#include "attend/modules/multi_head_attention.h"

namespace attend {

/// Multi-head attention of a sequence to itself.
///
/// Source: Vaswani et al., 2017, arXiv:1706.03762, section 3.2.3.
/// Shapes: x [B, T, E] -> output [B, T, E], weights [B, H, T, T] or [B, T, T]; or without B.
///         With a cache of P positions the keys are S = P + T, and weights [B, H, T, S].
/// Throws: c10::ValueError for options (query_dim, key_dim and value_dim must equal embed_dim),
///         c10::Error for shapes.
class ATTEND_API MultiHeadSelfAttentionImpl
    : public MultiHeadAttentionBase<MultiHeadSelfAttentionImpl> {
 public:
  MultiHeadSelfAttentionImpl(int64_t embed_dim, int64_t num_heads)
      : MultiHeadSelfAttentionImpl(MultiHeadAttentionOptions(embed_dim, num_heads)) {}
  explicit MultiHeadSelfAttentionImpl(const MultiHeadAttentionOptions& options_);

  AttentionOutput forward(const torch::Tensor& x, const AttentionMask& mask = {},
                          const WeightsRequest& weights = WeightsRequest::kNone);

  /// The new positions x [B, T, E] attend to the cached ones and to each other, and are appended to
  /// the cache.
  AttentionOutput step(const torch::Tensor& x, KeyValueCache& cache, const AttentionMask& mask = {},
                       const WeightsRequest& weights = WeightsRequest::kNone) const;

 protected:
  FORWARD_HAS_DEFAULT_ARGS({1, torch::nn::AnyValue(AttentionMask())},
                           {2, torch::nn::AnyValue(WeightsRequest())})
};
TORCH_MODULE(MultiHeadSelfAttention);

}  // namespace attend
