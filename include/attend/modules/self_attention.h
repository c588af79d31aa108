#pragma once

// For those who build models of layers.

#include "attend/modules/single_head_attention.h"

namespace attend {

/// Single-head attention of a sequence to itself, with learned projections.
///
/// Source: Vaswani et al., 2017, arXiv:1706.03762, section 3.2.1 and 3.2.3.
/// Shapes: x [B, T, E] -> output [B, T, output_dim], weights [B, T, T]; or without B.
/// Throws: c10::ValueError for options (query_dim must equal key_dim), c10::Error for shapes.
class ATTEND_API SelfAttentionImpl : public SingleHeadAttentionBase<SelfAttentionImpl> {
 public:
  explicit SelfAttentionImpl(int64_t embed_dim)
      : SelfAttentionImpl(SingleHeadAttentionOptions(embed_dim)) {}
  explicit SelfAttentionImpl(const SingleHeadAttentionOptions& options_);
  AttentionOutput forward(const torch::Tensor& x, const AttentionMask& mask = {},
                          const WeightsRequest& weights = WeightsRequest::kNone);

 protected:
  FORWARD_HAS_DEFAULT_ARGS({1, torch::nn::AnyValue(AttentionMask())},
                           {2, torch::nn::AnyValue(WeightsRequest())})
};
TORCH_MODULE(SelfAttention);

}  // namespace attend
