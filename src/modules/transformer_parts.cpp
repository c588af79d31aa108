#include "modules/transformer_parts.h"

#include "attend/functional/dropout.h"
#include "detail/check.h"
#include "modules/enum_names.h"
#include "modules/initial_weights.h"

namespace attend {

TransformerLayerOptions::TransformerLayerOptions(int64_t embed_dim, int64_t num_heads)
    : TransformerLayerOptions(MultiHeadAttentionOptions(embed_dim, num_heads)) {}

TransformerLayerOptions::TransformerLayerOptions(const MultiHeadAttentionOptions& self_attention)
    : self_attention_(self_attention),
      feed_forward_(self_attention.embed_dim(), 4 * self_attention.embed_dim()) {}

TransformerLayerOptions& TransformerLayerOptions::feed_forward_dim(int64_t value) {
  feed_forward_.feed_forward_dim(value);
  return *this;
}

TransformerLayerOptions& TransformerLayerOptions::activation(Activation value) {
  feed_forward_.activation(value);
  return *this;
}

TransformerLayerOptions& TransformerLayerOptions::activation_dropout(double value) {
  feed_forward_.dropout(value);
  return *this;
}

TransformerLayerOptions& TransformerLayerOptions::attention_dropout(double value) {
  self_attention_.dropout(value);
  if (cross_attention_) cross_attention_->dropout(value);
  return *this;
}

TransformerLayerOptions& TransformerLayerOptions::bias(bool value) {
  self_attention_.bias(value);
  if (cross_attention_) cross_attention_->bias(value);
  feed_forward_.bias(value);
  return *this;
}

MultiHeadAttentionOptions TransformerLayerOptions::effective_cross_attention() const {
  if (cross_attention_) return *cross_attention_;
  return MultiHeadAttentionOptions(embed_dim(), num_heads())
      .num_kv_heads(self_attention_.num_kv_heads())
      .dropout(self_attention_.dropout())
      .bias(self_attention_.bias());
}

NormOptions TransformerLayerOptions::norm_options() const {
  return NormOptions(embed_dim()).kind(norm_).eps(norm_eps_);
}

namespace detail {

torch::nn::Linear make_linear(int64_t from, int64_t to, bool bias, double gain) {
  auto layer = make_plain_linear(from, to, bias);
  initialize_xavier_uniform(layer->weight, gain);
  if (bias) torch::nn::init::zeros_(layer->bias);
  return layer;
}

FeedForward make_feed_forward(torch::nn::Module& layer, const FeedForwardOptions& options) {
  FeedForward block(options);
  block->train(layer.is_training());
  for (const auto& part : block->named_children()) layer.register_module(part.key(), part.value());
  return block;
}

void check_layer_options(const char* who, const TransformerLayerOptions& options) {
  const auto& attention = options.self_attention();
  check_heads(who, attention.embed_dim(), attention.num_heads());
  check_positive(who, "feed_forward_dim", options.feed_forward_dim());
  check_probability(who, "dropout", options.dropout());
  check_probability(who, "attention_dropout", attention.dropout());
  check_probability(who, "activation_dropout", options.feed_forward().dropout());
  TORCH_CHECK_VALUE(options.norm_eps() >= 0.0, who, ": expected norm_eps >= 0, got ",
                    options.norm_eps());
  TORCH_CHECK_VALUE(options.feed_forward().embed_dim() == attention.embed_dim(), who,
                    ": expected feed_forward with the attention's embed_dim ",
                    attention.embed_dim(), ", got ", options.feed_forward().embed_dim());
}

void check_cross_attention(const char* who, const MultiHeadAttentionOptions& options,
                           int64_t embed_dim) {
  TORCH_CHECK_VALUE(options.embed_dim() == embed_dim && options.query_dim() == embed_dim, who,
                    ": expected cross_attention with embed_dim and query_dim ", embed_dim, ", got ",
                    options.embed_dim(), " and ", options.query_dim());
  const auto refuse = [&](bool has_it, const char* what) {
    TORCH_CHECK_VALUE(!has_it, who, ": expected cross_attention without ", what,
                      ", since a target and its memory share no positions, got ", what);
  };
  refuse(options.rotary().has_value(), "rotary");
  refuse(options.alibi(), "alibi");
  refuse(options.relative_bias().has_value(), "relative_bias");
  refuse(options.window().has_value(), "window");
}

void print_feed_forward(Printer& printer, const FeedForwardOptions& options) {
  printer.changed("activation", name_of(options.activation()), name_of(Activation::kRelu))
      .variant("gated", options.gated())
      .changed("activation_dropout", options.dropout(), 0.0);
}

void print_layer(std::ostream& stream, const char* who, const TransformerLayerOptions& options) {
  Printer printer(stream, who);
  printer.value("embed_dim", options.embed_dim())
      .value("num_heads", options.num_heads())
      .value("feed_forward_dim", options.feed_forward_dim());
  print_feed_forward(printer, options.feed_forward());
  printer.changed("norm_order", name_of(options.norm_order()), name_of(NormOrder::kPost))
      .changed("norm", name_of(options.norm()), name_of(NormKind::kLayer))
      .changed("dropout", options.dropout(), 0.0)
      .end();
}

torch::Tensor apply_dropout(const torch::Tensor& x, double p, bool training) {
  return training && p > 0.0 ? functional::dropout(x, p) : x;
}

ResidualRule::ResidualRule(const TransformerLayerOptions& options, bool training)
    : pre_norm_(options.norm_order() == NormOrder::kPre),
      dropout_p_(options.dropout()),
      training_(training) {}

}  // namespace detail
}  // namespace attend
