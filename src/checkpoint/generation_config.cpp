#include "attend/checkpoint/generation_config.h"

#include <algorithm>
#include <optional>
#include <system_error>
#include <vector>

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

// The entries of bad_words_ids that are single tokens; longer ones are sequences, and are ignored.
std::vector<int64_t> bad_tokens_of(const detail::JsonFile& file) {
  constexpr auto kKey = "bad_words_ids";
  std::vector<int64_t> tokens;
  if (!file.has(kKey)) return tokens;
  const auto& words = file.value().at(kKey);
  const auto is_word = [](const json& word) {
    return word.is_array() && !word.empty() && std::ranges::all_of(word, [](const json& id) {
             return id.is_number_integer() && id.get<int64_t>() >= 0;
           });
  };
  if (!words.is_array() || !std::ranges::all_of(words, is_word)) {
    throw FileError(file.path(), fmt::format("expected {} to be a list of lists of ids, got {}",
                                             kKey, detail::brief(words)));
  }
  for (const auto& word : words) {
    if (word.size() == 1) tokens.push_back(word.front().get<int64_t>());
  }
  return tokens;
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
  const auto bad = bad_tokens_of(file);
  options.bad_words_ids.insert(options.bad_words_ids.end(), bad.begin(), bad.end());
  options.renormalize_logits = file.get_or<bool>("renormalize_logits", options.renormalize_logits);
  return options;
}

}  // namespace attend
