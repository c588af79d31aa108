#pragma once

// For those who build models of layers.

#include "attend/modules/single_head_attention.h"

namespace attend {

/// Single-head attention of one sequence to another, with learned projections.
///
/// Source: Vaswani et al., 2017, arXiv:1706.03762, section 3.2.1 and 3.2.3.
/// Shapes: x [B, T, query_dim], memory [B, S, key_dim] -> output [B, T, output_dim],
///         weights [B, T, S]; or without B.
/// Throws: c10::ValueError for options, c10::Error for shapes.
class ATTEND_API CrossAttentionImpl : public SingleHeadAttentionBase<CrossAttentionImpl> {
 public:
  CrossAttentionImpl(int64_t query_dim, int64_t key_dim)
      : CrossAttentionImpl(SingleHeadAttentionOptions(query_dim, key_dim)) {}
  explicit CrossAttentionImpl(const SingleHeadAttentionOptions& options_);
  AttentionOutput forward(const torch::Tensor& x, const torch::Tensor& memory,
                          const AttentionMask& mask = {},
                          const WeightsRequest& weights = WeightsRequest::kNone);

 protected:
  FORWARD_HAS_DEFAULT_ARGS({2, torch::nn::AnyValue(AttentionMask())},
                           {3, torch::nn::AnyValue(WeightsRequest())})
};
TORCH_MODULE(CrossAttention);

}  // namespace attend
