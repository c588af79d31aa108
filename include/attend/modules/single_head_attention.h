#pragma once

// For those who build models of layers.

#include <torch/torch.h>

#include "attend/export.h"
#include "attend/functional/attention.h"

namespace attend {

/// Options for `SelfAttention` and `CrossAttention`.
struct ATTEND_API SingleHeadAttentionOptions {
  /// For self-attention: one size of input.
  explicit SingleHeadAttentionOptions(int64_t embed_dim);
  /// For cross-attention: the sizes of the queries and of the keys and values.
  SingleHeadAttentionOptions(int64_t query_dim, int64_t key_dim);

  TORCH_ARG(int64_t, query_dim);     // the last size of the queries' input
  TORCH_ARG(int64_t, key_dim);       // the last size of the keys' and values' input
  TORCH_ARG(int64_t, hidden_dim);    // of queries and keys after projection; default query_dim
  TORCH_ARG(int64_t, output_dim);    // of values after projection; default query_dim
  TORCH_ARG(double, dropout) = 0.0;  // on the weights, in training; [0, 1)
  TORCH_ARG(bool, bias) = true;      // on the three projections
};

/// What `SelfAttention` and `CrossAttention` share: one head, three projections, no output
/// projection. Not for direct use.
///
///   output = softmax((x W_Q) (memory W_K)^T / sqrt(hidden_dim)) (memory W_V)
///
/// Source: Vaswani et al., 2017, arXiv:1706.03762, section 3.2.1.
/// Shapes: x [B, T, query_dim], memory [B, S, key_dim]
///         -> output [B, T, output_dim], weights [B, T, S].
template <typename Derived>
class ATTEND_API SingleHeadAttentionBase : public torch::nn::Cloneable<Derived> {
 public:
  explicit SingleHeadAttentionBase(const SingleHeadAttentionOptions& options_);
  void reset() override;
  void pretty_print(std::ostream& stream) const override;

  SingleHeadAttentionOptions options;
  torch::nn::Linear q_proj{nullptr}, k_proj{nullptr}, v_proj{nullptr};

 protected:
  AttentionOutput attend(const torch::Tensor& x, const torch::Tensor& memory,
                         const AttentionMask& mask, const WeightsRequest& weights) const;
};

}  // namespace attend
