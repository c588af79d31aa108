// GPT-2's format of a causal language model: its config keys, and its weights, which pack query,
// key and value and are transposed ([in, out], as stored by its Conv1D).
#include <fmt/format.h>

#include <optional>

#include "checkpoint/causal_lm_form.h"
#include "checkpoint/enum_json.h"
#include "checkpoint/layer_json.h"

namespace attend::detail {
namespace {

using nlohmann::json;

constexpr auto kGpt2 = "gpt2";
const std::string kGpt2Prefix = "transformer.", kGpt2Head = "lm_head.weight";

bool is_gpt2(const CausalLMOptions& o) {
  auto plain = TransformerLayerOptions(o.embed_dim(), o.num_heads())
                   .feed_forward_dim(o.feed_forward_dim())
                   .activation(o.layer().activation())
                   .activation_dropout(0.0)
                   .attention_dropout(o.layer().attention_dropout())
                   .norm_order(NormOrder::kPre)
                   .norm_eps(o.layer().norm_eps())
                   .dropout(o.layer().dropout());
  return o.positions() == PositionKind::kLearned && o.tie_output() && o.final_norm() &&
         o.embedding_dropout() == o.layer().dropout() && layer_json(o.layer()) == layer_json(plain);
}

json gpt2_config(const CausalLMOptions& o) {
  return {{"activation_function", name_of(o.layer().activation())},
          {"architectures", json::array({"GPT2LMHeadModel"})},
          {"attn_pdrop", o.layer().attention_dropout()},
          {"bos_token_id", o.bos_id()},
          {"embd_pdrop", o.embedding_dropout()},
          {"eos_token_id", o.eos_id()},
          {"layer_norm_epsilon", o.layer().norm_eps()},
          {"model_type", kGpt2},
          {"n_embd", o.embed_dim()},
          {"n_head", o.num_heads()},
          {"n_inner", o.feed_forward_dim()},
          {"n_layer", o.num_layers()},
          {"n_positions", o.max_length()},
          {"resid_pdrop", o.layer().dropout()},
          {"tie_word_embeddings", true},
          {"torch_dtype", "float32"},
          {"vocab_size", o.vocab_size()}};
}

CausalLMOptions gpt2_options(const JsonFile& config) {
  config.expect("tie_word_embeddings", true);
  config.expect("scale_attn_weights", true);
  config.expect("scale_attn_by_inverse_layer_idx", false);
  config.expect("add_cross_attention", false);
  const auto embed = config.size("n_embd");
  const auto activation = config.get_or<std::string>("activation_function", "gelu_new");
  auto options = CausalLMOptions(config.size("vocab_size"), embed, config.size("n_head"),
                                 config.size("n_layer"))
                     .feed_forward_dim(config.size_or("n_inner", 4 * embed))
                     .max_length(config.size("n_positions"))
                     .dropout(config.get_or<double>("resid_pdrop", 0.1))
                     .attention_dropout(config.get_or<double>("attn_pdrop", 0.1))
                     .activation(value_named<Activation>(config, "activation_function", activation))
                     .norm_eps(config.get_or<double>("layer_norm_epsilon", 1e-5));
  read_text_ids(config, options);
  return options;
}

std::vector<WeightMapping> gpt2_mappings(const CausalLMOptions& options) {
  std::vector<WeightMapping> all{{"transformer.wte.weight", {"embed_tokens.weight"}},
                                 {"transformer.wpe.weight", {"embed_positions.weight"}},
                                 {"transformer.ln_f.weight", {"decoder.layer_norm.weight"}},
                                 {"transformer.ln_f.bias", {"decoder.layer_norm.bias"}}};
  for (int64_t i = 0; i < options.num_layers(); ++i) {
    const auto theirs = fmt::format("transformer.h.{}.", i);
    const auto ours = fmt::format("decoder.layers.{}.", i);
    for (const std::string kind : {"weight", "bias"}) {
      const bool turned = kind == "weight";
      const auto add = [&](const std::string& name, const std::vector<std::string>& own,
                           bool transposed) {
        WeightMapping mapping{fmt::format("{}{}.{}", theirs, name, kind), {}, transposed};
        for (const auto& part : own) {
          mapping.ours.push_back(fmt::format("{}{}.{}", ours, part, kind));
        }
        all.push_back(std::move(mapping));
      };
      add("ln_1", {"self_attn_layer_norm"}, false);
      add("attn.c_attn", {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"}, turned);
      add("attn.c_proj", {"self_attn.out_proj"}, turned);
      add("ln_2", {"final_layer_norm"}, false);
      add("mlp.c_fc", {"fc1"}, turned);
      add("mlp.c_proj", {"fc2"}, turned);
    }
  }
  return all;
}

// A tensor's name in GPT2LMHeadModel. Files of GPT2Model lack the prefix; old files also hold each
// layer's causal mask, which is skipped.
std::optional<std::string> gpt2_name(const std::string& name) {
  if (name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias")) return std::nullopt;
  return name.starts_with(kGpt2Prefix) || name == kGpt2Head ? name : kGpt2Prefix + name;
}

}  // namespace

CausalLMForm gpt2_form() {
  return {.model_type = kGpt2,
          .holds = is_gpt2,
          .config = gpt2_config,
          .options = gpt2_options,
          .mappings = gpt2_mappings,
          .rename = gpt2_name,
          .layers_key = "n_layer",
          .layers_prefix = kGpt2Prefix + "h.",
          .embeddings = kGpt2Prefix + "wte.weight",
          .head = kGpt2Head};
}

}  // namespace attend::detail
