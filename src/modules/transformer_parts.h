#pragma once

#include <torch/torch.h>

#include "attend/modules/transformer_layer.h"
#include "detail/print.h"

namespace attend::detail {

/// A Linear with the Transformer's initialisation: Xavier-uniform weights, zero bias.
torch::nn::Linear make_linear(int64_t from, int64_t to, bool bias, double gain = 1.0);

/// A feed-forward block whose weights are registered in `layer` itself, so that their names have no
/// extra prefix. It takes the layer's current training mode.
FeedForward make_feed_forward(torch::nn::Module& layer, const FeedForwardOptions& options);

/// Checks what the parts' own constructors do not. Throws c10::ValueError that names the layer.
void check_layer_options(const char* who, const TransformerLayerOptions& options);

/// Throws c10::ValueError for options that depend on the distance between query and key (rotary,
/// ALiBi, ...): target and memory have no common positions.
void check_cross_attention(const char* who, const MultiHeadAttentionOptions& options,
                           int64_t embed_dim);

/// Prints the options of a feed-forward block that are not the default, except sizes and biases.
void print_feed_forward(Printer& printer, const FeedForwardOptions& options);

/// Prints "attend::<who>(embed_dim=8, num_heads=2, feed_forward_dim=32, ...)": the sizes, and
/// options that are not the default.
void print_layer(std::ostream& stream, const char* who, const TransformerLayerOptions& options);

/// Dropout if `training`; otherwise returns the tensor itself without a dispatch.
torch::Tensor apply_dropout(const torch::Tensor& x, double p, bool training);

/// A residual connection around a sublayer, with its normalisation and dropout:
/// x + f(norm(x)) with pre-norm, norm(x + f(x)) with post-norm.
class ResidualRule {
 public:
  ResidualRule(const TransformerLayerOptions& options, bool training);

  template <typename Sublayer>
  torch::Tensor operator()(const torch::Tensor& x, Norm& norm, const Sublayer& sublayer) const {
    const auto y = apply_dropout(sublayer(pre_norm_ ? norm(x) : x), dropout_p_, training_);
    return pre_norm_ ? x + y : norm(x + y);
  }

 private:
  bool pre_norm_;
  double dropout_p_;
  bool training_;
};

}  // namespace attend::detail
