// The format of transformers' LlamaForCausalLM.
#include <fmt/format.h>

#include <optional>

#include "checkpoint/causal_lm_form.h"
#include "checkpoint/enum_json.h"
#include "checkpoint/layer_json.h"

namespace attend::detail {
namespace {

using nlohmann::json;

constexpr auto kLlama = "llama";
constexpr auto kRope = "rope_parameters", kOldRope = "rope_scaling";
const std::string kLlamaPrefix = "model.", kLlamaHead = "lm_head.weight";

// The layer options of a Llama model with the sizes and flags of `o`.
TransformerLayerOptions llama_layer(const CausalLMOptions& o, const RotaryOptions& rotary) {
  const auto& own = o.layer();
  return TransformerLayerOptions(MultiHeadAttentionOptions(o.embed_dim(), o.num_heads())
                                     .num_kv_heads(own.self_attention().num_kv_heads())
                                     .bias(own.self_attention().bias())
                                     .dropout(own.attention_dropout())
                                     .rotary(rotary))
      .feed_forward(FeedForwardOptions(o.embed_dim(), o.feed_forward_dim())
                        .gated(true)
                        .activation(own.activation())
                        .bias(own.feed_forward().bias()))
      .norm(NormKind::kRms)
      .norm_order(NormOrder::kPre)
      .norm_eps(own.norm_eps())
      .dropout(0.0);
}

bool is_llama(const CausalLMOptions& o) {
  const auto& rotary = o.layer().self_attention().rotary();
  if (!rotary || rotary->pairing != RotaryPairing::kHalves ||
      rotary->scaling.kind == RotaryScalingKind::kNtk) {
    return false;
  }
  auto all = *rotary;
  all.dim = 0;
  const auto head_dim = o.embed_dim() / o.num_heads();
  auto layer = o.layer();
  if (rotary->dim == head_dim) layer.self_attention().rotary(all);
  return o.positions() == PositionKind::kNone && o.final_norm() && o.embedding_dropout() == 0.0 &&
         layer_json(layer) == layer_json(llama_layer(o, all));
}

json llama_config(const CausalLMOptions& o) {
  const auto& attention = o.layer().self_attention();
  const auto& scaling = attention.rotary()->scaling;
  json rope{{"rope_theta", attention.rotary()->base}, {"rope_type", name_of(scaling.kind)}};
  if (scaling.kind != RotaryScalingKind::kNone) rope["factor"] = scaling.factor;
  if (scaling.kind == RotaryScalingKind::kLlama3) {
    rope["low_freq_factor"] = scaling.low_frequency_factor;
    rope["high_freq_factor"] = scaling.high_frequency_factor;
  }
  if (scaling.kind == RotaryScalingKind::kYarn) {
    rope["beta_fast"] = scaling.beta_fast;
    rope["beta_slow"] = scaling.beta_slow;
  }
  if (scaling.original_max_length > 0) {
    rope["original_max_position_embeddings"] = scaling.original_max_length;
  }
  return {{"architectures", json::array({"LlamaForCausalLM"})},
          {"attention_bias", attention.bias()},
          {"attention_dropout", attention.dropout()},
          {"bos_token_id", o.bos_id()},
          {"eos_token_id", o.eos_id()},
          {"head_dim", o.embed_dim() / o.num_heads()},
          {"hidden_act",
           o.layer().activation() == Activation::kSwish ? "silu" : name_of(o.layer().activation())},
          {"hidden_size", o.embed_dim()},
          {"intermediate_size", o.feed_forward_dim()},
          {"max_position_embeddings", o.max_length()},
          {"mlp_bias", o.layer().feed_forward().bias()},
          {"model_type", kLlama},
          {"num_attention_heads", o.num_heads()},
          {"num_hidden_layers", o.num_layers()},
          {"num_key_value_heads", attention.num_kv_heads()},
          {"rms_norm_eps", o.layer().norm_eps()},
          {kRope, rope},
          {"tie_word_embeddings", o.tie_output()},
          {"torch_dtype", "float32"},
          {"vocab_size", o.vocab_size()}};
}

// The rotary options in `config`: rope_parameters, or before transformers 5 rope_scaling and a
// top-level rope_theta.
RotaryOptions llama_rotary(const JsonFile& config) {
  RotaryOptions rotary;
  rotary.base = config.get_or<double>("rope_theta", 10000.0);
  const auto* key = config.has(kRope) ? kRope : kOldRope;
  if (!config.has(key)) return rotary;
  const auto rope = config.object(key);
  rotary.base = rope.get_or<double>("rope_theta", rotary.base);
  const auto* type = rope.has("rope_type") ? "rope_type" : "type";
  auto& scaling = rotary.scaling;
  const auto name = rope.get_or<std::string>(type, "default");
  // kNtk is excluded: Hugging Face's "dynamic" is a different rule.
  scaling.kind = value_named<RotaryScalingKind>(rope, type, name, RotaryScalingKind::kNtk);
  if (scaling.kind == RotaryScalingKind::kNone) return rotary;
  for (const auto* other : {"attention_factor", "mscale", "mscale_all_dim", "truncate"}) {
    if (rope.has(other)) {
      throw FileError(config.path(), fmt::format("expected {} without {}, got {}", key, other,
                                                 brief(rope.value().at(other))));
    }
  }
  scaling.factor = rope.get<double>("factor");
  scaling.low_frequency_factor = rope.get_or<double>("low_freq_factor", 1.0);
  scaling.high_frequency_factor = rope.get_or<double>("high_freq_factor", 4.0);
  scaling.beta_fast = rope.get_or<double>("beta_fast", 32.0);
  scaling.beta_slow = rope.get_or<double>("beta_slow", 1.0);
  if (scaling.kind == RotaryScalingKind::kLlama3 || scaling.kind == RotaryScalingKind::kYarn) {
    scaling.original_max_length =
        rope.size_or("original_max_position_embeddings", config.size("max_position_embeddings"));
  }
  return rotary;
}

CausalLMOptions llama_options(const JsonFile& config) {
  const auto embed = config.size("hidden_size"), heads = config.size("num_attention_heads");
  if (const auto head_dim = config.size_or("head_dim", std::max<int64_t>(1, embed / heads));
      head_dim * heads != embed) {
    throw FileError(config.path(),
                    fmt::format("expected head_dim to be hidden_size / num_attention_heads {}, "
                                "got {}",
                                embed / heads, head_dim));
  }
  const auto activation = config.get_or<std::string>("hidden_act", "silu");
  const auto layer =
      TransformerLayerOptions(MultiHeadAttentionOptions(embed, heads)
                                  .num_kv_heads(config.size_or("num_key_value_heads", heads))
                                  .bias(config.get_or<bool>("attention_bias", false))
                                  .dropout(config.get_or<double>("attention_dropout", 0.0))
                                  .rotary(llama_rotary(config)))
          .feed_forward(FeedForwardOptions(embed, config.size("intermediate_size"))
                            .gated(true)
                            .activation(value_named<Activation>(config, "hidden_act", activation))
                            .bias(config.get_or<bool>("mlp_bias", false)))
          .norm(NormKind::kRms)
          .norm_order(NormOrder::kPre)
          .norm_eps(config.get_or<double>("rms_norm_eps", 1e-6))
          .dropout(0.0);
  auto options = CausalLMOptions(config.size("vocab_size"), layer, config.size("num_hidden_layers"))
                     .positions(PositionKind::kNone)
                     .max_length(config.size_or("max_position_embeddings", 2048))
                     .embedding_dropout(0.0)
                     .tie_output(config.get_or<bool>("tie_word_embeddings", false));
  read_text_ids(config, options);
  return options;
}

std::vector<WeightMapping> llama_mappings(const CausalLMOptions& o) {
  std::vector<WeightMapping> all{{"model.embed_tokens.weight", {"embed_tokens.weight"}},
                                 {"model.norm.weight", {"decoder.layer_norm.weight"}}};
  if (!o.tie_output()) all.push_back({kLlamaHead, {"lm_head.weight"}});
  for (int64_t i = 0; i < o.num_layers(); ++i) {
    const auto theirs = fmt::format("model.layers.{}.", i);
    const auto ours = fmt::format("decoder.layers.{}.", i);
    const auto add = [&](const std::string& their_name, const std::string& our_name, bool bias) {
      all.push_back({theirs + their_name + ".weight", {ours + our_name + ".weight"}});
      if (bias) all.push_back({theirs + their_name + ".bias", {ours + our_name + ".bias"}});
    };
    const bool attention_bias = o.layer().self_attention().bias();
    const bool mlp_bias = o.layer().feed_forward().bias();
    add("self_attn.q_proj", "self_attn.q_proj", attention_bias);
    add("self_attn.k_proj", "self_attn.k_proj", attention_bias);
    add("self_attn.v_proj", "self_attn.v_proj", attention_bias);
    add("self_attn.o_proj", "self_attn.out_proj", attention_bias);
    add("mlp.gate_proj", "gate_proj", mlp_bias);
    add("mlp.up_proj", "fc1", mlp_bias);
    add("mlp.down_proj", "fc2", mlp_bias);
    add("input_layernorm", "self_attn_layer_norm", false);
    add("post_attention_layernorm", "final_layer_norm", false);
  }
  return all;
}

// A tensor's name in LlamaForCausalLM. Files of LlamaModel lack the prefix; old files also hold the
// rotary frequencies, which are skipped.
std::optional<std::string> llama_name(const std::string& name) {
  if (name.ends_with(".rotary_emb.inv_freq")) return std::nullopt;
  return name.starts_with(kLlamaPrefix) || name == kLlamaHead ? name : kLlamaPrefix + name;
}

}  // namespace

CausalLMForm llama_form() {
  return {.model_type = kLlama,
          .holds = is_llama,
          .config = llama_config,
          .options = llama_options,
          .mappings = llama_mappings,
          .rename = llama_name,
          .layers_key = "num_hidden_layers",
          .layers_prefix = kLlamaPrefix + "layers.",
          .embeddings = kLlamaPrefix + "embed_tokens.weight",
          .head = kLlamaHead};
}

}  // namespace attend::detail
