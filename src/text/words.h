#pragma once

#include <string_view>
#include <vector>

namespace attend::detail {

inline constexpr std::string_view kWhitespace = " \t\n\v\f\r";
inline constexpr std::string_view kSpaceMark = "\xE2\x96\x81";  // U+2581, SentencePiece's space

/// `split_words`, as views of the text.
std::vector<std::string_view> word_views(std::string_view text);

}  // namespace attend::detail
