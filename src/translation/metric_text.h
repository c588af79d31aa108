#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace attend::detail {

/// The version in metric signatures.
inline constexpr std::string_view kMetricVersion = "attend-0.1.0";

/// Decodes lines to code points, in lower case if requested.
///
/// Throws: c10::ValueError that names `who`, `what` and the line (from 1) for text that is not
///         UTF-8.
std::vector<std::u32string> decode_lines(std::string_view who, std::string_view what,
                                         const std::vector<std::string>& lines, bool lowercase);

/// Throws c10::ValueError unless there are as many hypotheses as references, and at least one.
void check_line_counts(std::string_view who, size_t hypotheses, size_t references);

/// Whether Python's str.split, and therefore sacreBLEU, treats a character as white space.
bool is_space(char32_t character);

/// Splits a text at white space; the parts are views of the text.
std::vector<std::u32string_view> split_at_spaces(std::u32string_view text);

}  // namespace attend::detail
