#pragma once

#include <torch/torch.h>

namespace attend {

struct TransformerLayerOptions;
struct MultiHeadAttentionOptions;

namespace detail {

/// A Linear that starts as the Transformer's do: Xavier-uniform weights, zero bias.
torch::nn::Linear make_linear(int64_t from, int64_t to, bool bias, double gain = 1.0);

torch::nn::LayerNorm make_layer_norm(const TransformerLayerOptions& options);

MultiHeadAttentionOptions self_attention_options(const TransformerLayerOptions& options);

/// Throws c10::ValueError for what the submodules do not check themselves, naming the layer.
void check_layer_options(const char* who, const TransformerLayerOptions& options);

/// Dropout in training; elsewhere the tensor itself, without a dispatch.
torch::Tensor apply_dropout(const torch::Tensor& x, double p, bool training);

/// A residual connection around a sublayer, with its layer normalisation and dropout:
/// x + f(norm(x)) with pre-norm, norm(x + f(x)) with post-norm.
class ResidualRule {
 public:
  ResidualRule(const TransformerLayerOptions& options, bool training);

  template <typename Sublayer>
  torch::Tensor operator()(const torch::Tensor& x, torch::nn::LayerNorm& norm,
                           const Sublayer& sublayer) const {
    const auto y = apply_dropout(sublayer(pre_norm_ ? norm(x) : x), dropout_p_, training_);
    return pre_norm_ ? x + y : norm(x + y);
  }

 private:
  bool pre_norm_;
  double dropout_p_;
  bool training_;
};

}  // namespace detail
}  // namespace attend
