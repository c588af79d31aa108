#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "attend/models/causal_lm.h"
#include "checkpoint/weight_mapping.h"
#include "checkpoint/weights_file.h"
#include "detail/json_file.h"

namespace attend::detail {

/// How an architecture of decoder-only language models is written down: one row of
/// `causal_lm_forms`.
struct CausalLMForm {
  const char* model_type;  // of config.json

  /// Whether a model of these options is of this architecture.
  bool (*holds)(const CausalLMOptions&);

  nlohmann::json (*config)(const CausalLMOptions&);
  CausalLMOptions (*options)(const JsonFile&);

  /// Their tensors for ours.
  std::vector<WeightMapping> (*mappings)(const CausalLMOptions&);

  WeightsFile::Rename rename;    // from a file's names
  const char* layers_key;        // of config.json
  std::string layers_prefix;     // of the names of layer 0, before the 0
  std::string embeddings, head;  // tensors that are one where the output layer is tied
};

CausalLMForm gpt2_form();
CausalLMForm llama_form();
/// What no Hugging Face class reads: every option by name, and our own names of weights.
CausalLMForm own_causal_lm_form();

/// The options that every form has in config.json under the same keys.
void read_text_ids(const JsonFile& config, CausalLMOptions& options);

}  // namespace attend::detail
