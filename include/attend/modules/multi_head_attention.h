#pragma once

#include <torch/torch.h>

#include "attend/export.h"
#include "attend/functional/attention.h"
#include "attend/modules/kv_cache.h"

namespace attend {

/// Options for `MultiHeadAttention`.
struct ATTEND_API MultiHeadAttentionOptions {
  MultiHeadAttentionOptions(int64_t embed_dim, int64_t num_heads);

  TORCH_ARG(int64_t, embed_dim);     // E, a multiple of num_heads
  TORCH_ARG(int64_t, num_heads);     // H
  TORCH_ARG(int64_t, query_dim);     // the last size of query; default E
  TORCH_ARG(int64_t, key_dim);       // the last size of key; default E
  TORCH_ARG(int64_t, value_dim);     // the last size of value; default E
  TORCH_ARG(double, dropout) = 0.0;  // on the weights, in training; [0, 1)
  TORCH_ARG(bool, bias) = true;      // on all four projections
};

/// The projections that every multi-head module shares, under the names of their weights in Hugging
/// Face's Marian and BART. Not for direct use: `Derived` is the module's own class, as in
/// torch::nn::NormImplBase.
///
/// Shapes: B batch, T queries, S keys, E embed_dim, H heads, D = E / H.
/// Source: Vaswani et al., 2017, arXiv:1706.03762, section 3.2.2.
template <typename Derived>
class ATTEND_API MultiHeadAttentionBase : public torch::nn::Cloneable<Derived> {
 public:
  explicit MultiHeadAttentionBase(const MultiHeadAttentionOptions& options_);
  void reset() override;
  void pretty_print(std::ostream& stream) const override;

  /// Projects keys and values, which a decoder does once and hands to `attend` at every step.
  /// key [B, S, key_dim], value [B, S, value_dim] -> [B, H, S, D] each.
  KeyValue project_key_value(const torch::Tensor& key, const torch::Tensor& value) const;

  /// Attention of query [B, T, query_dim] to projected keys and values -> output [B, T, E].
  AttentionOutput attend(const torch::Tensor& query, const KeyValue& memory,
                         const AttentionMask& mask = {},
                         WeightsRequest weights = WeightsRequest::kNone) const;

  MultiHeadAttentionOptions options;
  torch::nn::Linear q_proj{nullptr}, k_proj{nullptr}, v_proj{nullptr}, out_proj{nullptr};

 protected:
  /// Attention of inputs with or without a batch axis.
  AttentionOutput attend_to(const torch::Tensor& query, const torch::Tensor& key,
                            const torch::Tensor& value, const AttentionMask& mask,
                            WeightsRequest weights) const;

  /// Self-attention of the new positions x [B, T, E] to themselves and to the cached ones.
  AttentionOutput attend_to_cached(const torch::Tensor& x, KeyValueCache& cache,
                                   const AttentionMask& mask, WeightsRequest weights) const;
};

/// Attention run H times on learned projections of its inputs.
///
///   head_h = softmax(q_h k_h^T / sqrt(D)) v_h,   output = [head_1 .. head_H] W_O
///
/// Source: Vaswani et al., 2017, arXiv:1706.03762, section 3.2.2.
/// Shapes: query [B, T, query_dim], key [B, S, key_dim], value [B, S, value_dim]
///         -> output [B, T, E], weights [B, H, T, S] or their mean [B, T, S]; the mask broadcasts
///         to [B, H, T, S].
///         Unbatched [T, query_dim], ... -> [T, E], weights [H, T, S] or [T, S].
/// Throws: c10::ValueError for options, c10::Error for shapes, devices and dtypes.
/// Note:   batch first and mask true = attend, unlike torch::nn::MultiheadAttention.
class ATTEND_API MultiHeadAttentionImpl : public MultiHeadAttentionBase<MultiHeadAttentionImpl> {
 public:
  MultiHeadAttentionImpl(int64_t embed_dim, int64_t num_heads)
      : MultiHeadAttentionImpl(MultiHeadAttentionOptions(embed_dim, num_heads)) {}
  explicit MultiHeadAttentionImpl(const MultiHeadAttentionOptions& options_);

  AttentionOutput forward(const torch::Tensor& query, const torch::Tensor& key,
                          const torch::Tensor& value, const AttentionMask& mask = {},
                          WeightsRequest weights = WeightsRequest::kNone);

 protected:
  FORWARD_HAS_DEFAULT_ARGS({3, torch::nn::AnyValue(AttentionMask())},
                           {4, torch::nn::AnyValue(WeightsRequest::kNone)})
};
TORCH_MODULE(MultiHeadAttention);

}  // namespace attend
