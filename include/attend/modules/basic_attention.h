#pragma once

// For those who build models of layers.

#include <torch/torch.h>

#include "attend/export.h"
#include "attend/functional/attention.h"

namespace attend {

/// Options for `BasicAttention`.
struct ATTEND_API BasicAttentionOptions {
  /// query_dim and key_dim: the sizes of a query and a key; hidden_dim: of both after projection.
  BasicAttentionOptions(int64_t query_dim, int64_t key_dim, int64_t hidden_dim);

  TORCH_ARG(int64_t, query_dim);
  TORCH_ARG(int64_t, key_dim);
  TORCH_ARG(int64_t, hidden_dim);
  TORCH_ARG(bool, bias) = false;     // one bias inside the tanh (the paper leaves biases out)
  TORCH_ARG(double, dropout) = 0.0;  // on the weights, in training; [0, 1)

  // Variants. Each is off by default; all of them can be combined.
  TORCH_ARG(int64_t, num_heads) = 1;  // H, divides hidden_dim and the size of a value
  TORCH_ARG(ScoreFunction, score_function) = ScoreFunction::kTanh;
  TORCH_ARG(double, negative_slope) = 0.2;  // of ScoreFunction::kLeakyRelu
  TORCH_ARG(double, score_clip) = 0.0;      // C > 0: scores become C tanh(score)
                                            // (Bello et al., 2017, arXiv:1611.09940, section A.1)
};

/// Additive attention.
///
///   score(t, s) = v^T tanh(W_q q_t + W_k k_s),   output_t = sum_s softmax_s(score(t, s)) value_s
///
/// Source: Bahdanau et al., 2015, arXiv:1409.0473, section A.1.2.
/// With options: several heads, each with its part of hidden_dim and of the values; another function
/// than tanh; clipped scores. For a pointer network (Vinyals et al., 2015, arXiv:1506.03134), ask
/// for its weights, scores or log-probabilities: `WeightsRequest::values`.
///
/// Shapes: query [B, T, query_dim], key [B, S, key_dim], value [B, S, any] -> output [B, T, any],
///         weights [B, T, S], with several heads [B, H, T, S] or their mean; or all without B. T and
///         S are free.
/// Throws: c10::ValueError for options, c10::Error for shapes.
class ATTEND_API BasicAttentionImpl : public torch::nn::Cloneable<BasicAttentionImpl> {
 public:
  BasicAttentionImpl(int64_t query_dim, int64_t key_dim, int64_t hidden_dim)
      : BasicAttentionImpl(BasicAttentionOptions(query_dim, key_dim, hidden_dim)) {}
  explicit BasicAttentionImpl(const BasicAttentionOptions& options_);
  void reset() override;
  void pretty_print(std::ostream& stream) const override;

  AttentionOutput forward(const torch::Tensor& query, const torch::Tensor& key,
                          const torch::Tensor& value, const AttentionMask& mask = {},
                          const WeightsRequest& weights = WeightsRequest::kNone);

  /// W_k k: [B, S, hidden_dim]. A decoder computes it once and passes it to `attend` at every step.
  torch::Tensor project_key(const torch::Tensor& key) const;

  /// `forward` with keys from `project_key`.
  AttentionOutput attend(const torch::Tensor& query, const torch::Tensor& projected_key,
                         const torch::Tensor& value, const AttentionMask& mask = {},
                         const WeightsRequest& weights = WeightsRequest::kNone) const;

  BasicAttentionOptions options;
  torch::nn::Linear q_proj{nullptr}, k_proj{nullptr};
  torch::Tensor v;  // [hidden_dim]: head after head

 protected:
  FORWARD_HAS_DEFAULT_ARGS({3, torch::nn::AnyValue(AttentionMask())},
                           {4, torch::nn::AnyValue(WeightsRequest())})
};
TORCH_MODULE(BasicAttention);

}  // namespace attend
