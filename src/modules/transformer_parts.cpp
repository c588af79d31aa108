#include "modules/transformer_parts.h"

#include "attend/functional/dropout.h"
#include "attend/modules/transformer_encoder.h"
#include "detail/check.h"

namespace attend::detail {

torch::nn::Linear make_linear(int64_t from, int64_t to, bool bias, double gain) {
  auto layer = torch::nn::Linear(torch::nn::LinearOptions(from, to).bias(bias));
  torch::nn::init::xavier_uniform_(layer->weight, gain);
  if (bias) torch::nn::init::zeros_(layer->bias);
  return layer;
}

torch::nn::LayerNorm make_layer_norm(const TransformerLayerOptions& options) {
  return torch::nn::LayerNorm(
      torch::nn::LayerNormOptions({options.embed_dim()}).eps(options.layer_norm_eps()));
}

MultiHeadAttentionOptions self_attention_options(const TransformerLayerOptions& options) {
  return MultiHeadAttentionOptions(options.embed_dim(), options.num_heads())
      .dropout(options.attention_dropout())
      .bias(options.bias());
}

void check_layer_options(const char* who, const TransformerLayerOptions& options) {
  check_heads(who, options.embed_dim(), options.num_heads());
  check_positive(who, "feed_forward_dim", options.feed_forward_dim());
  check_probability(who, "dropout", options.dropout());
  check_probability(who, "attention_dropout", options.attention_dropout());
  check_probability(who, "activation_dropout", options.activation_dropout());
  TORCH_CHECK_VALUE(options.layer_norm_eps() >= 0.0, who, ": expected layer_norm_eps >= 0, got ",
                    options.layer_norm_eps());
}

torch::Tensor apply_dropout(const torch::Tensor& x, double p, bool training) {
  return training && p > 0.0 ? functional::dropout(x, p) : x;
}

ResidualRule::ResidualRule(const TransformerLayerOptions& options, bool training)
    : pre_norm_(options.norm_order() == NormOrder::kPre),
      dropout_p_(options.dropout()),
      training_(training) {}

}  // namespace attend::detail
