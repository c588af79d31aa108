#pragma once

// For programs that turn text into tokens and back.

#include <string>
#include <string_view>
#include <vector>

#include "attend/toolkit_export.h"

namespace attend {

/// The words of a text, cut at ASCII whitespace, as alignments count them. Empty for a text without
/// words; bytes that are not UTF-8 are kept as they are.
ATTEND_TOOLKIT_API std::vector<std::string> split_words(std::string_view text);

}  // namespace attend
