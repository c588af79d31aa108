#include "checkpoint/layer_json.h"

#include "checkpoint/enum_json.h"

namespace attend::detail {
namespace {

using nlohmann::json;

json rotary_json(const RotaryOptions& o) {
  return {{"base", o.base},
          {"dim", o.dim},
          {"pairing", name_of(o.pairing)},
          {"scaling",
           {{"kind", name_of(o.scaling.kind)},
            {"factor", o.scaling.factor},
            {"original_max_length", o.scaling.original_max_length},
            {"low_frequency_factor", o.scaling.low_frequency_factor},
            {"high_frequency_factor", o.scaling.high_frequency_factor},
            {"beta_fast", o.scaling.beta_fast},
            {"beta_slow", o.scaling.beta_slow}}}};
}

RotaryOptions rotary_options(const JsonFile& config) {
  const auto scaling = config.object("scaling");
  return {.dim = config.size("dim", 0),
          .base = config.get<double>("base"),
          .pairing = value_of<RotaryPairing>(config, "pairing"),
          .scaling = {.kind = value_of<RotaryScalingKind>(scaling, "kind"),
                      .factor = scaling.get<double>("factor"),
                      .original_max_length = scaling.size("original_max_length", 0),
                      .low_frequency_factor = scaling.get<double>("low_frequency_factor"),
                      .high_frequency_factor = scaling.get<double>("high_frequency_factor"),
                      .beta_fast = scaling.get<double>("beta_fast"),
                      .beta_slow = scaling.get<double>("beta_slow")}};
}

json attention_json(const MultiHeadAttentionOptions& o) {
  json result{{"bias", o.bias()},           {"dropout", o.dropout()},
              {"embed_dim", o.embed_dim()}, {"key_dim", o.key_dim()},
              {"num_heads", o.num_heads()}, {"num_kv_heads", o.num_kv_heads()},
              {"query_dim", o.query_dim()}, {"value_dim", o.value_dim()}};
  if (o.scale()) result["scale"] = *o.scale();
  if (o.rotary()) result["rotary"] = rotary_json(*o.rotary());
  if (o.alibi()) result["alibi"] = true;
  if (o.relative_bias()) {
    result["relative_bias"] = {{"num_buckets", o.relative_bias()->num_buckets},
                               {"max_distance", o.relative_bias()->max_distance},
                               {"bidirectional", o.relative_bias()->bidirectional}};
  }
  if (o.window()) {
    result["window"] = {{"left", o.window()->left}, {"right", o.window()->right}};
  }
  if (o.qk_norm()) result["qk_norm"] = true;
  if (o.soft_cap() != 0.0) result["soft_cap"] = o.soft_cap();
  if (o.sinks()) result["sinks"] = true;
  if (o.add_bias_kv()) result["add_bias_kv"] = true;
  if (o.add_zero_attn()) result["add_zero_attn"] = true;
  return result;
}

MultiHeadAttentionOptions attention_options(const JsonFile& config) {
  auto options = MultiHeadAttentionOptions(config.size("embed_dim"), config.size("num_heads"))
                     .bias(config.get<bool>("bias"))
                     .dropout(config.get<double>("dropout"))
                     .key_dim(config.size("key_dim"))
                     .num_kv_heads(config.size("num_kv_heads"))
                     .query_dim(config.size("query_dim"))
                     .value_dim(config.size("value_dim"))
                     .alibi(config.get_or<bool>("alibi", false))
                     .qk_norm(config.get_or<bool>("qk_norm", false))
                     .soft_cap(config.get_or<double>("soft_cap", 0.0))
                     .sinks(config.get_or<bool>("sinks", false))
                     .add_bias_kv(config.get_or<bool>("add_bias_kv", false))
                     .add_zero_attn(config.get_or<bool>("add_zero_attn", false));
  if (config.has("scale")) options.scale(config.get<double>("scale"));
  if (config.has("rotary")) options.rotary(rotary_options(config.object("rotary")));
  if (config.has("relative_bias")) {
    const auto bias = config.object("relative_bias");
    options.relative_bias(RelativeBiasOptions{.num_buckets = bias.size("num_buckets"),
                                              .max_distance = bias.size("max_distance"),
                                              .bidirectional = bias.get<bool>("bidirectional")});
  }
  if (config.has("window")) {
    const auto window = config.object("window");
    options.window(AttentionWindow{.left = window.get<int64_t>("left"),
                                   .right = window.get<int64_t>("right")});
  }
  return options;
}

json feed_forward_json(const FeedForwardOptions& o) {
  return {{"activation", name_of(o.activation())},
          {"bias", o.bias()},
          {"dropout", o.dropout()},
          {"embed_dim", o.embed_dim()},
          {"feed_forward_dim", o.feed_forward_dim()},
          {"gated", o.gated()}};
}

FeedForwardOptions feed_forward_options(const JsonFile& config) {
  return FeedForwardOptions(config.size("embed_dim"), config.size("feed_forward_dim"))
      .activation(value_of<Activation>(config, "activation"))
      .bias(config.get<bool>("bias"))
      .dropout(config.get<double>("dropout"))
      .gated(config.get<bool>("gated"));
}

}  // namespace

json layer_json(const TransformerLayerOptions& o) {
  json result{{"dropout", o.dropout()},
              {"feed_forward", feed_forward_json(o.feed_forward())},
              {"norm", name_of(o.norm())},
              {"norm_eps", o.norm_eps()},
              {"norm_order", name_of(o.norm_order())},
              {"self_attention", attention_json(o.self_attention())}};
  if (o.cross_attention()) result["cross_attention"] = attention_json(*o.cross_attention());
  return result;
}

TransformerLayerOptions layer_options(const JsonFile& config) {
  auto options = TransformerLayerOptions(attention_options(config.object("self_attention")))
                     .feed_forward(feed_forward_options(config.object("feed_forward")))
                     .norm(value_of<NormKind>(config, "norm"))
                     .norm_eps(config.get<double>("norm_eps"))
                     .norm_order(value_of<NormOrder>(config, "norm_order"))
                     .dropout(config.get<double>("dropout"));
  if (config.has("cross_attention")) {
    options.cross_attention(attention_options(config.object("cross_attention")));
  }
  return options;
}

}  // namespace attend::detail
