// Model folders of decoder-only language models, in one of several formats.
#include <algorithm>
#include <array>

#include "attend/checkpoint/model_folder.h"
#include "checkpoint/causal_lm_form.h"
#include "checkpoint/folder.h"
#include "checkpoint/layout.h"
#include "detail/excerpt.h"

namespace attend {
namespace detail {

void read_text_ids(const JsonFile& config, CausalLMOptions& options) {
  const auto last = options.vocab_size() - 1;
  options.bos_id(config.get_or<int64_t>("bos_token_id", last));
  // Llama 3 writes eos_token_id as a list.
  const auto eos = config.value().find("eos_token_id");
  if (eos == config.value().end() || !eos->is_array()) {
    options.eos_id(config.get_or<int64_t>("eos_token_id", last));
  } else if (eos->size() == 1 && eos->front().is_number_integer()) {
    options.eos_id(eos->front().get<int64_t>());
  } else {
    throw FileError(config.path(),
                    fmt::format("expected eos_token_id to be one id, got {}", brief(*eos)));
  }
}

}  // namespace detail

namespace {

namespace fs = std::filesystem;

std::array<detail::CausalLMForm, 3> causal_lm_forms() {
  return {detail::gpt2_form(), detail::llama_form(), detail::own_causal_lm_form()};
}

}  // namespace

bool is_causal_lm(const std::string& model_type) {
  return std::ranges::any_of(causal_lm_forms(), [&](const detail::CausalLMForm& form) {
    return form.model_type == model_type;
  });
}

void save_model(const fs::path& folder, CausalLMImpl& model) {
  const auto& o = model.options;
  for (const auto& form : causal_lm_forms()) {
    if (!form.holds(o)) continue;
    nlohmann::json generation{{"bos_token_id", o.bos_id()}, {"eos_token_id", o.eos_id()}};
    // attend's decoding never chooses the start token; this makes `generate` do the same.
    if (o.bos_id() != o.eos_id()) {
      generation["bad_words_ids"] = nlohmann::json::array({nlohmann::json::array({o.bos_id()})});
    }
    detail::write_folder(folder,
                         {{"config.json", form.config(o)}, {"generation_config.json", generation}},
                         detail::to_theirs(detail::named_weights(model), form.mappings(o)));
    return;
  }
}

CausalLM load_causal_lm(const fs::path& folder) {
  const detail::JsonFile config(folder / "config.json");
  const auto type = config.get<std::string>("model_type");
  std::string known;
  for (const auto& form : causal_lm_forms()) {
    known += (known.empty() ? "" : " or ") + std::string(form.model_type);
    if (type != form.model_type) continue;
    const auto options = form.options(config);
    const detail::WeightsFile file(folder, form.rename);
    detail::check_layer_count(config, form.layers_key, options.num_layers(), file,
                              form.layers_prefix);
    detail::check_derived_positions(config, options.positions(), options.max_length(),
                                    options.embed_dim(), file);
    const auto mappings = form.mappings(options);
    const detail::WeightsPlan plan{
        .wanted = detail::to_theirs(detail::layout_of(options), mappings),
        .tied = options.tie_output()
                    ? std::vector<std::vector<std::string>>{{form.embeddings, form.head}}
                    : std::vector<std::vector<std::string>>{},
        .derived = {},
        .may_exclude = {}};
    detail::check_header(file, plan);
    auto model = detail::build<CausalLM>(config.path(), options);
    detail::fill(*model, detail::to_ours(detail::read_weights(file, plan), mappings));
    model->eval();
    return model;
  }
  detail::refuse_model_type(config, known);
}

}  // namespace attend
