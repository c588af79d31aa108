#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "attend/translation/translator.h"

namespace attend::app {

/// What `translate --json` and the server say of a text: {"source": ..., "translations": [{"text":
/// ..., "log_probability": ..., "score": ...}, ...]}, each translation, if requested, with "alignment",
/// a list of [source word, target word], and "attention", a row of source words for each target word.
nlohmann::ordered_json translations_json(const std::string& source,
                                         const std::vector<Translation>& translations,
                                         bool with_alignment, bool with_attention);

/// On one line; what is not UTF-8 is replaced.
std::string json_text(const nlohmann::ordered_json& json);

}  // namespace attend::app
