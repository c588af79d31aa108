#include "checkpoint/causal_lm_form.h"
#include "checkpoint/enum_json.h"
#include "checkpoint/layer_json.h"
#include "checkpoint/layout.h"

namespace attend::detail {
namespace {

using nlohmann::json;

constexpr auto kOwnCausalLM = "attend_causal_lm";

json own_config(const CausalLMOptions& o) {
  return {{"architectures", json::array({"AttendCausalLM"})},
          {"bos_token_id", o.bos_id()},
          {"embedding_dropout", o.embedding_dropout()},
          {"eos_token_id", o.eos_id()},
          {"final_norm", o.final_norm()},
          {"layer", layer_json(o.layer())},
          {"max_position_embeddings", o.max_length()},
          {"model_type", kOwnCausalLM},
          {"num_hidden_layers", o.num_layers()},
          {"position_embedding_type", name_of(o.positions())},
          {"tie_word_embeddings", o.tie_output()},
          {"torch_dtype", "float32"},
          {"vocab_size", o.vocab_size()}};
}

CausalLMOptions own_options(const JsonFile& config) {
  auto options = CausalLMOptions(config.size("vocab_size"), layer_options(config.object("layer")),
                                 config.size("num_hidden_layers"))
                     .positions(value_of<PositionKind>(config, "position_embedding_type"))
                     .max_length(config.size("max_position_embeddings"))
                     .embedding_dropout(config.get<double>("embedding_dropout"))
                     .final_norm(config.get<bool>("final_norm"))
                     .tie_output(config.get<bool>("tie_word_embeddings"));
  read_text_ids(config, options);
  return options;
}

}  // namespace

CausalLMForm own_causal_lm_form() {
  return {.model_type = kOwnCausalLM,
          .holds = [](const CausalLMOptions&) { return true; },
          .config = own_config,
          .options = own_options,
          .mappings = [](const CausalLMOptions& o) { return unchanged_names(layout_of(o)); },
          .rename = {},
          .layers_key = "num_hidden_layers",
          .layers_prefix = "decoder.layers.",
          .embeddings = "embed_tokens.weight",
          .head = "lm_head.weight"};
}

}  // namespace attend::detail
