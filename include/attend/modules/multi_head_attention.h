#pragma once

// For those who build models of layers.

#include <torch/torch.h>

#include <optional>

#include "attend/export.h"
#include "attend/functional/attention.h"
#include "attend/functional/rotary.h"
#include "attend/modules/kv_cache.h"
#include "attend/modules/norm.h"

namespace attend {

/// A window of keys around each query; see `AttentionMask::window`.
struct AttentionWindow {
  int64_t left = AttentionMask::Band::kAll;   // keys before the query, itself not counted
  int64_t right = AttentionMask::Band::kAll;  // keys after it
};

/// T5's learned bias for each head and distance bucket; see
/// `functional::relative_position_buckets`.
struct RelativeBiasOptions {
  int64_t num_buckets = 32;
  int64_t max_distance = 128;
  bool bidirectional = true;  // separate buckets for keys after the query
};

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

  // Variants. Each is off by default; all of them can be combined.
  TORCH_ARG(int64_t, num_kv_heads);         // heads of keys and values; divides H; default H
  TORCH_ARG(std::optional<double>, scale);  // of the scores; default 1 / sqrt(D)
  TORCH_ARG(std::optional<RotaryOptions>, rotary);               // on queries and keys
  TORCH_ARG(bool, alibi) = false;                                // bias by distance, not learned
  TORCH_ARG(std::optional<RelativeBiasOptions>, relative_bias);  // bias by distance, learned
  TORCH_ARG(std::optional<AttentionWindow>, window);             // joined with every mask
  TORCH_ARG(bool, qk_norm) = false;        // RMSNorm of each head's queries and keys, before rotary
                                           // (Dehghani et al., 2023, arXiv:2302.05442, section 2)
  TORCH_ARG(double, soft_cap) = 0.0;       // > 0: scores stay between -soft_cap and soft_cap
  TORCH_ARG(bool, sinks) = false;          // a learned score for attending to nothing, per head
  TORCH_ARG(bool, add_bias_kv) = false;    // a learned key and value, as in torch::nn
  TORCH_ARG(bool, add_zero_attn) = false;  // a key and value of zeros, as in torch::nn
};

/// What all multi-head modules share. Parameters have the names of Hugging Face's Marian and BART.
/// Not for direct use: `Derived` is the module's own class, as in torch::nn::NormImplBase.
///
/// Shapes: B batch, T queries, S keys, E embed_dim, H heads, Hkv num_kv_heads, D = E / H.
/// Source: Vaswani et al., 2017, arXiv:1706.03762, section 3.2.2.
/// Note:   positions are bottom-right aligned, as causal masks are: the last query has the position
///         of the last key. Rotary positions, ALiBi and the relative bias use these positions.
template <typename Derived>
class ATTEND_API MultiHeadAttentionBase : public torch::nn::Cloneable<Derived> {
 public:
  explicit MultiHeadAttentionBase(const MultiHeadAttentionOptions& options_);
  void reset() override;
  void pretty_print(std::ostream& stream) const override;

  /// Projects keys and values; a decoder does this once and passes the result to `attend` at every
  /// step. key [B, S, key_dim], value [B, S, value_dim] -> [B, Hkv, S, D] each. `first` is the
  /// position of the first key, for rotary positions.
  KeyValue project_key_value(const torch::Tensor& key, const torch::Tensor& value,
                             int64_t first = 0) const;

  /// Attention of query [B, T, query_dim] to projected keys and values -> output [B, T, E].
  /// add_bias_kv and add_zero_attn each add a column to the weights.
  AttentionOutput attend(const torch::Tensor& query, const KeyValue& memory,
                         const AttentionMask& mask = {},
                         const WeightsRequest& weights = WeightsRequest::kNone) const;

  MultiHeadAttentionOptions options;
  torch::nn::Linear q_proj{nullptr}, k_proj{nullptr}, v_proj{nullptr}, out_proj{nullptr};
  Norm q_norm{nullptr}, k_norm{nullptr};                  // only with qk_norm: [D]
  torch::nn::Embedding relative_attention_bias{nullptr};  // only with relative_bias: [buckets, H]
  torch::Tensor sinks;                                    // only with sinks: [H]
  torch::Tensor bias_k, bias_v;                           // only with add_bias_kv: [1, 1, Hkv D]

 protected:
  /// Attention of inputs with or without a batch dimension.
  AttentionOutput attend_to(const torch::Tensor& query, const torch::Tensor& key,
                            const torch::Tensor& value, const AttentionMask& mask,
                            const WeightsRequest& weights) const;

  /// Self-attention of the new positions x [B, T, E] to themselves and to the cached ones.
  AttentionOutput attend_to_cached(const torch::Tensor& x, KeyValueCache& cache,
                                   const AttentionMask& mask, const WeightsRequest& weights) const;

 private:
  // positions: [T] or [B, T], and [S] or [B, S], int64; used only with rotary positions.
  torch::Tensor project_query(const torch::Tensor& query, const torch::Tensor& positions) const;
  KeyValue project_at(const torch::Tensor& key, const torch::Tensor& value,
                      const torch::Tensor& positions) const;
  AttentionMask with_own_mask(const AttentionMask& mask, const torch::Tensor& query,
                              const KeyValue& memory, const torch::Tensor& query_positions) const;
  KeyValue with_own_keys(const KeyValue& memory) const;
};

/// Attention run H times on learned projections of its inputs.
///
///   head_h = softmax(q_h k_h^T / sqrt(D)) v_h,   output = [head_1 .. head_H] W_O
///
/// Source: Vaswani et al., 2017, arXiv:1706.03762, section 3.2.2.
/// With options: grouped-query and multi-query attention, rotary positions, ALiBi, T5's relative
/// bias, a sliding window, normalised queries and keys, capped scores, attention sinks, and
/// torch::nn's bias_kv and zero_attn, in any combination.
///
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
                          const WeightsRequest& weights = WeightsRequest::kNone);

 protected:
  FORWARD_HAS_DEFAULT_ARGS({3, torch::nn::AnyValue(AttentionMask())},
                           {4, torch::nn::AnyValue(WeightsRequest())})
};
TORCH_MODULE(MultiHeadAttention);

}  // namespace attend
