#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "attend/models/causal_lm.h"
#include "checkpoint/weight_mapping.h"
#include "checkpoint/weights_file.h"
#include "detail/json_file.h"

namespace attend::detail {

/// How one decoder-only architecture is saved: one row of `causal_lm_forms`.
struct CausalLMForm {
  const char* model_type;  // of config.json

  /// Whether a model with these options can be saved as this architecture.
  bool (*holds)(const CausalLMOptions&);

  nlohmann::json (*config)(const CausalLMOptions&);
  CausalLMOptions (*options)(const JsonFile&);

  /// Which of this format's tensors hold which of attend's.
  std::vector<WeightMapping> (*mappings)(const CausalLMOptions&);

  WeightsFile::Rename rename;    // applied to the names in a file
  const char* layers_key;        // of config.json
  std::string layers_prefix;     // name prefix of a layer's tensors, up to its index
  std::string embeddings, head;  // the same tensor if the output layer is tied
};

CausalLMForm gpt2_form();
CausalLMForm llama_form();
/// attend's own format, which no Hugging Face class reads: all options, attend's weight names.
CausalLMForm own_causal_lm_form();

/// Reads bos_token_id and eos_token_id, which every format stores under the same keys.
void read_text_ids(const JsonFile& config, CausalLMOptions& options);

}  // namespace attend::detail
