// GPT-2's form of a causal language model: its configuration's words, and weights that are packed
// and transposed ([in, out], as its Conv1D keeps them).
#include "attend/checkpoint/model_folder.h"

#include <algorithm>
#include <optional>

#include "checkpoint/folder.h"
#include "checkpoint/layout.h"
#include "detail/excerpt.h"

namespace attend {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

constexpr auto kGpt2 = "gpt2";
const std::string kGpt2Prefix = "transformer.", kGpt2Head = "lm_head.weight";

std::string activation_name(Activation activation) {
  switch (activation) {
    case Activation::kRelu:
      return "relu";
    case Activation::kGelu:
      return "gelu";
    case Activation::kGeluTanh:
      return "gelu_new";
    case Activation::kSwish:
      return "silu";
  }
  TORCH_INTERNAL_ASSERT(false, "activation");
}

Activation activation_of(const detail::JsonFile& config) {
  const auto name = config.get_or<std::string>("activation_function", "gelu_new");
  for (const auto activation :
       {Activation::kRelu, Activation::kGelu, Activation::kGeluTanh, Activation::kSwish}) {
    if (name == activation_name(activation)) return activation;
  }
  if (name == "gelu_pytorch_tanh") return Activation::kGeluTanh;
  if (name == "swish") return Activation::kSwish;
  throw FileError(config.path(),
                  fmt::format("expected activation_function to be one of relu, gelu, "
                              "gelu_new and silu, got {}",
                              detail::in_quotes(name)));
}

json gpt2_config(const CausalLMOptions& o) {
  return {{"activation_function", activation_name(o.layer().activation())},
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

CausalLMOptions gpt2_options(const detail::JsonFile& config) {
  config.expect("tie_word_embeddings", true);
  config.expect("scale_attn_weights", true);
  config.expect("scale_attn_by_inverse_layer_idx", false);
  config.expect("add_cross_attention", false);
  const auto vocab = config.size("vocab_size"), embed = config.size("n_embd");
  return CausalLMOptions(vocab, embed, config.size("n_head"), config.size("n_layer"))
      .feed_forward_dim(config.size_or("n_inner", 4 * embed))
      .max_length(config.size("n_positions"))
      .dropout(config.get_or<double>("resid_pdrop", 0.1))
      .attention_dropout(config.get_or<double>("attn_pdrop", 0.1))
      .activation(activation_of(config))
      .norm_eps(config.get_or<double>("layer_norm_epsilon", 1e-5))
      .bos_id(config.get_or<int64_t>("bos_token_id", vocab - 1))
      .eos_id(config.get_or<int64_t>("eos_token_id", vocab - 1));
}

// One tensor of GPT-2's for one or several of ours.
struct Mapping {
  std::string theirs;
  std::vector<std::string> ours;  // side by side along the outputs
  bool is_transposed = false;
};

std::vector<Mapping> gpt2_mappings(int64_t layers) {
  std::vector<Mapping> all{{"transformer.wte.weight", {"embed_tokens.weight"}},
                           {"transformer.wpe.weight", {"embed_positions.weight"}},
                           {"transformer.ln_f.weight", {"decoder.layer_norm.weight"}},
                           {"transformer.ln_f.bias", {"decoder.layer_norm.bias"}}};
  for (int64_t i = 0; i < layers; ++i) {
    const auto theirs = fmt::format("transformer.h.{}.", i);
    const auto ours = fmt::format("decoder.layers.{}.", i);
    for (const std::string kind : {"weight", "bias"}) {
      const bool turned = kind == "weight";
      const auto add = [&](const std::string& name, const std::vector<std::string>& own,
                           bool transposed) {
        Mapping mapping{fmt::format("{}{}.{}", theirs, name, kind), {}, transposed};
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

// GPT-2's tensors for a model of these options.
detail::NamedShapes gpt2_layout(const CausalLMOptions& options,
                                const std::vector<Mapping>& mappings) {
  const auto ours = detail::layout_of(options);
  detail::NamedShapes theirs;
  for (const auto& mapping : mappings) {
    auto shape = ours.at(mapping.ours.front());
    shape[0] *= static_cast<int64_t>(mapping.ours.size());
    if (mapping.is_transposed) std::ranges::reverse(shape);
    theirs[mapping.theirs] = std::move(shape);
  }
  return theirs;
}

// The name of GPT2LMHeadModel: folders of the bare model have no prefix, old ones hold each layer's
// causal mask.
std::optional<std::string> gpt2_name(const std::string& name) {
  if (name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias")) return std::nullopt;
  return name.starts_with(kGpt2Prefix) || name == kGpt2Head ? name : kGpt2Prefix + name;
}

}  // namespace

void save_model(const fs::path& folder, CausalLMImpl& model) {
  const auto ours = detail::named_weights(model);
  detail::NamedTensors theirs;
  for (const auto& mapping : gpt2_mappings(model.options.num_layers())) {
    std::vector<torch::Tensor> parts;
    for (const auto& name : mapping.ours) parts.push_back(ours.at(name));
    const auto joined = parts.size() == 1 ? parts.front() : torch::cat(parts, 0);
    theirs[mapping.theirs] = mapping.is_transposed ? joined.t().contiguous() : joined;
  }
  const auto& o = model.options;
  detail::write_folder(
      folder,
      {{"config.json", gpt2_config(o)},
       {"generation_config.json", {{"bos_token_id", o.bos_id()}, {"eos_token_id", o.eos_id()}}}},
      theirs);
}

CausalLM load_causal_lm(const fs::path& folder) {
  const detail::JsonFile config(folder / "config.json");
  if (config.get<std::string>("model_type") != kGpt2) detail::refuse_model_type(config, kGpt2);
  const auto options = gpt2_options(config);
  const detail::WeightsFile file(folder, gpt2_name);
  detail::check_layer_count(config, "n_layer", options.num_layers(), file, kGpt2Prefix + "h.");
  const auto mappings = gpt2_mappings(options.num_layers());
  const detail::WeightsPlan plan{.wanted = gpt2_layout(options, mappings),
                                 .tied = {{kGpt2Prefix + "wte.weight", kGpt2Head}},
                                 .derived = {},
                                 .may_exclude = {}};
  detail::check_header(file, plan);
  auto model = detail::build<CausalLM>(config.path(), options);
  const auto theirs = detail::read_weights(file, plan);
  detail::NamedTensors ours;
  for (const auto& mapping : mappings) {
    const auto& tensor = theirs.at(mapping.theirs);
    const auto pieces = (mapping.is_transposed ? tensor.t() : tensor)
                            .chunk(static_cast<int64_t>(mapping.ours.size()), 0);
    for (size_t i = 0; i < pieces.size(); ++i) ours[mapping.ours[i]] = pieces[i];
  }
  detail::fill(*model, ours);
  model->eval();
  return model;
}

}  // namespace attend
