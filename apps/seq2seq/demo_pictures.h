#pragma once

#include <filesystem>
#include <vector>

#include "attend/translation/translator.h"

namespace attend::app {

/// Draws the cross-attention of a translation as PNG and SVG into `pictures` in the model folder:
/// between words, and for a Transformer also between subwords for every head of the last decoder
/// layer. Returns the files.
std::vector<std::filesystem::path> draw_attention(const std::filesystem::path& model_dir,
                                                  const Translator& translator,
                                                  const std::string& source,
                                                  const std::string& target);

/// The picture between words as text, for a terminal.
std::string attention_text(const Translator& translator, const std::string& source,
                           const std::string& target);

}  // namespace attend::app
