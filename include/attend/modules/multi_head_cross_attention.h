#pragma once

// For those who build models of layers.

#include "attend/modules/multi_head_attention.h"

namespace attend {

/// Multi-head attention of one sequence to another, of possibly another size.
///
/// Source: Vaswani et al., 2017, arXiv:1706.03762, section 3.2.3.
/// Shapes: x [B, T, query_dim], memory [B, S, key_dim] -> output [B, T, embed_dim],
///         weights [B, H, T, S] or [B, T, S]; or without B.
/// Note:   a decoder projects the memory once, with `project_key_value(memory, memory)`, and passes
///         the result to `attend` at every step.
/// Throws: c10::ValueError for options (value_dim must equal key_dim), c10::Error for shapes.
class ATTEND_API MultiHeadCrossAttentionImpl
    : public MultiHeadAttentionBase<MultiHeadCrossAttentionImpl> {
 public:
  MultiHeadCrossAttentionImpl(int64_t query_dim, int64_t key_dim, int64_t embed_dim,
                              int64_t num_heads);
  explicit MultiHeadCrossAttentionImpl(const MultiHeadAttentionOptions& options_);

  AttentionOutput forward(const torch::Tensor& x, const torch::Tensor& memory,
                          const AttentionMask& mask = {},
                          const WeightsRequest& weights = WeightsRequest::kNone);

 protected:
  FORWARD_HAS_DEFAULT_ARGS({2, torch::nn::AnyValue(AttentionMask())},
                           {3, torch::nn::AnyValue(WeightsRequest())})
};
TORCH_MODULE(MultiHeadCrossAttention);

}  // namespace attend
