#include "attend/checkpoint/generation_config.h"

#include <algorithm>
#include <optional>
#include <system_error>
#include <vector>

#include "decoding/token_rules.h"
#include "detail/excerpt.h"
#include "detail/json_file.h"

namespace attend {
namespace {

using nlohmann::json;

constexpr auto kEarlyStopping = "early_stopping";

std::optional<int64_t> count_of(const detail::JsonFile& file, const char* key) {
  if (!file.has(key)) return std::nullopt;
  const auto count = file.get<int64_t>(key);
  if (count < 1) {
    throw FileError(file.path(), fmt::format("expected {} > 0, got {}", key, count));
  }
  return count;
}

EarlyStopping early_stopping_of(const detail::JsonFile& file) {
  const auto& value = file.value().at(kEarlyStopping);
  if (value == "never") return EarlyStopping::kNever;
  if (!value.is_boolean()) {
    throw FileError(file.path(), fmt::format("expected {} to be true, false or \"never\", got {}",
                                             kEarlyStopping, detail::brief(value)));
  }
  return value.get<bool>() ? EarlyStopping::kTrue : EarlyStopping::kFalse;
}

// Whether `key` names end tokens. If it does, the only one must be the model's.
bool names_the_end(const detail::JsonFile& file, const char* key, int64_t eos_id) {
  if (!file.has(key)) return false;
  const auto& value = file.value().at(key);
  if (value != json(eos_id) && value != json::array({eos_id})) {
    throw FileError(file.path(), fmt::format("expected {} to be the model's end token, {}, got {}",
                                             key, eos_id, detail::brief(value)));
  }
  return true;
}

bool is_list_of_ids(const json& value) {
  return value.is_array() && std::ranges::all_of(value, [](const json& id) {
           return id.is_number_integer() && id.get<int64_t>() >= 0;
         });
}

// Appends the ids under `key`, if it is there.
void add_ids(const detail::JsonFile& file, const char* key, std::vector<int64_t>& ids) {
  if (!file.has(key)) return;
  const auto& value = file.value().at(key);
  if (!is_list_of_ids(value)) {
    throw FileError(file.path(), fmt::format("expected {} to be a list of ids, got {}", key,
                                             detail::brief(value)));
  }
  for (const auto& id : value) ids.push_back(id.get<int64_t>());
}

void add_bad_words(const detail::JsonFile& file, std::vector<std::vector<int64_t>>& words) {
  constexpr auto kKey = "bad_words_ids";
  if (!file.has(kKey)) return;
  const auto& value = file.value().at(kKey);
  const auto is_word = [](const json& word) { return !word.empty() && is_list_of_ids(word); };
  if (!value.is_array() || !std::ranges::all_of(value, is_word)) {
    throw FileError(file.path(), fmt::format("expected {} to be a list of lists of ids, got {}",
                                             kKey, detail::brief(value)));
  }
  for (const auto& word : value) words.push_back(word.get<std::vector<int64_t>>());
}

std::optional<LengthDecay> length_decay_of(const detail::JsonFile& file) {
  constexpr auto kKey = "exponential_decay_length_penalty";
  if (!file.has(kKey)) return std::nullopt;
  const auto& value = file.value().at(kKey);
  if (!value.is_array() || value.size() != 2 || !value[0].is_number_integer() ||
      !value[1].is_number()) {
    throw FileError(file.path(),
                    fmt::format("expected {} to be a number of tokens and a factor, got {}", kKey,
                                detail::brief(value)));
  }
  return LengthDecay{.start = value[0].get<int64_t>(), .factor = value[1].get<double>()};
}

// Replaces what the file says.
void read_rules(const detail::JsonFile& file, TokenRules& rules) {
  rules.repetition_penalty = file.get_or<double>("repetition_penalty", rules.repetition_penalty);
  rules.no_repeat_ngram_size =
      file.get_or<int64_t>("no_repeat_ngram_size", rules.no_repeat_ngram_size);
  add_bad_words(file, rules.bad_words_ids);
  rules.min_length = file.get_or<int64_t>("min_length", rules.min_length);
  if (file.has("min_new_tokens")) rules.min_new_tokens = file.get<int64_t>("min_new_tokens");
  if (file.has("forced_bos_token_id")) {
    rules.forced_bos_token_id = file.get<int64_t>("forced_bos_token_id");
  }
  if (const auto decay = length_decay_of(file)) rules.exponential_decay_length_penalty = decay;
  add_ids(file, "suppress_tokens", rules.suppress_tokens);
  add_ids(file, "begin_suppress_tokens", rules.begin_suppress_tokens);
  if (const auto fault = detail::fault_of(rules)) throw FileError(file.path(), *fault);
}

// Whether num_beams was chosen. Older versions of attend always wrote 1, with neither of these
// keys; Hugging Face always writes one of them.
bool says_how_to_search(const detail::JsonFile& file) {
  return file.has("transformers_version") || file.has(kEarlyStopping);
}

}  // namespace

BeamSearchOptions load_search_options(const std::filesystem::path& folder,
                                      const SpecialTokenIds& tokens,
                                      const BeamSearchOptions& otherwise) {
  const auto path = folder / "generation_config.json";
  std::error_code unreadable;
  if (!std::filesystem::exists(path, unreadable)) return otherwise;
  const detail::JsonFile file(path);
  auto options = otherwise;
  if (const auto beams = count_of(file, "num_beams");
      beams && (*beams > 1 || says_how_to_search(file))) {
    options.beam_size = *beams;
  }
  options.length_penalty = file.get_or<double>("length_penalty", options.length_penalty);
  if (file.has(kEarlyStopping)) options.early_stopping = early_stopping_of(file);
  if (const auto most = count_of(file, "max_new_tokens")) {
    options.max_new_tokens = most;
  } else if (const auto length = count_of(file, "max_length")) {
    options.max_length = length;
  }
  names_the_end(file, "eos_token_id", tokens.eos_id);
  options.forced_eos |= names_the_end(file, "forced_eos_token_id", tokens.eos_id);
  read_rules(file, options.rules);
  options.renormalize_logits = file.get_or<bool>("renormalize_logits", options.renormalize_logits);
  return options;
}

}  // namespace attend
