#pragma once

#include <filesystem>
#include <vector>

#include "attend/translation/translator.h"

namespace attend::app {

/// Draws how a translation looks at its source, as PNG and SVG into `pictures` in the model's folder:
/// words by words, and for a Transformer the subwords of every head of the last decoder layer.
/// Returns the files.
std::vector<std::filesystem::path> draw_attention(const std::filesystem::path& model_dir,
                                                  const Translator& translator,
                                                  const std::string& source,
                                                  const std::string& target);

/// The same words-by-words picture as text, for standard output.
std::string attention_text(const Translator& translator, const std::string& source,
                           const std::string& target);

}  // namespace attend::app
