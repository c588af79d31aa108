#pragma once

// For those who build models of layers.

#include "attend/modules/multi_head_attention.h"

namespace attend {

/// Options for `CausalSelfAttention`.
struct ATTEND_API CausalSelfAttentionOptions {
  CausalSelfAttentionOptions(int64_t embed_dim, int64_t num_heads, int64_t max_length)
      : CausalSelfAttentionOptions(MultiHeadAttentionOptions(embed_dim, num_heads), max_length) {}
  CausalSelfAttentionOptions(const MultiHeadAttentionOptions& attention, int64_t max_length);

  TORCH_ARG(MultiHeadAttentionOptions, attention);  // sizes, dropout, bias and variants
  TORCH_ARG(int64_t, max_length);  // the longest sequence, cached positions counted
};

/// Multi-head self-attention in which no position attends to a later one, as in GPT.
///
/// Source: Vaswani et al., 2017, arXiv:1706.03762, section 3.2.3; Radford et al., 2018,
///         section 3.1.
/// Shapes: x [B, T, E] -> output [B, T, E], weights [B, H, T, T] or [B, T, T]; or without B.
///         With a cache of P positions the keys are S = P + T.
/// Throws: c10::ValueError for options and if P + T > max_length, c10::Error for shapes.
/// Note:   no mask is stored: causality is a flag of the kernel, a single query with a cache needs
///         no mask, and only T > 1 new positions with a cache need a [T, S] mask, which is made on
///         demand.
class ATTEND_API CausalSelfAttentionImpl : public MultiHeadAttentionBase<CausalSelfAttentionImpl> {
 public:
  CausalSelfAttentionImpl(int64_t embed_dim, int64_t num_heads, int64_t max_length)
      : CausalSelfAttentionImpl(CausalSelfAttentionOptions(embed_dim, num_heads, max_length)) {}
  explicit CausalSelfAttentionImpl(const CausalSelfAttentionOptions& options_);

  AttentionOutput forward(const torch::Tensor& x, const AttentionMask& mask = {},
                          const WeightsRequest& weights = WeightsRequest::kNone);

  /// The new positions x [B, T, E] attend to the cached ones and causally to each other, and are
  /// appended to the cache.
  AttentionOutput step(const torch::Tensor& x, KeyValueCache& cache, const AttentionMask& mask = {},
                       const WeightsRequest& weights = WeightsRequest::kNone) const;

  int64_t max_length;

 protected:
  FORWARD_HAS_DEFAULT_ARGS({1, torch::nn::AnyValue(AttentionMask())},
                           {2, torch::nn::AnyValue(WeightsRequest())})
};
TORCH_MODULE(CausalSelfAttention);

}  // namespace attend
