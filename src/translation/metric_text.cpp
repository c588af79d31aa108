#include "translation/metric_text.h"

#include <c10/util/Exception.h>
#include <unicode/locid.h>
#include <unicode/uchar.h>
#include <unicode/unistr.h>
#include <unicode/utf8.h>

#include <algorithm>
#include <cstdint>
#include <limits>

namespace attend::detail {
namespace {

std::u32string decode(std::string_view who, std::string_view what, size_t line,
                      const std::string& text) {
  TORCH_CHECK_VALUE(text.size() <= std::numeric_limits<int32_t>::max(), who, ": expected ", what,
                    " ", line, " of less than 2 GiB, got ", text.size(), " bytes");
  const auto* bytes = reinterpret_cast<const uint8_t*>(text.data());
  const auto size = static_cast<int32_t>(text.size());
  std::u32string characters;
  characters.reserve(text.size());
  for (int32_t i = 0; i < size;) {
    const auto start = i;
    UChar32 character = 0;
    U8_NEXT(bytes, i, size, character);
    TORCH_CHECK_VALUE(character >= 0, who, ": expected ", what, " ", line,
                      " to be UTF-8, got another byte at offset ", start);
    characters.push_back(static_cast<char32_t>(character));
  }
  return characters;
}

// Full case mapping (one character to several, final sigma), like Python's str.lower.
std::u32string to_lower(const std::u32string& text) {
  const auto lower = icu::UnicodeString::fromUTF32(reinterpret_cast<const UChar32*>(text.data()),
                                                   static_cast<int32_t>(text.size()))
                         .toLower(icu::Locale::getRoot());
  std::u32string result(static_cast<size_t>(lower.countChar32()), U'\0');
  auto error = U_ZERO_ERROR;
  lower.toUTF32(reinterpret_cast<UChar32*>(result.data()), static_cast<int32_t>(result.size()),
                error);
  TORCH_INTERNAL_ASSERT(U_SUCCESS(error), u_errorName(error));
  return result;
}

}  // namespace

std::vector<std::u32string> decode_lines(std::string_view who, std::string_view what,
                                         const std::vector<std::string>& lines, bool lowercase) {
  std::vector<std::u32string> decoded;
  decoded.reserve(lines.size());
  for (const auto& line : lines) {
    auto text = decode(who, what, decoded.size() + 1, line);
    decoded.push_back(lowercase ? to_lower(text) : std::move(text));
  }
  return decoded;
}

void check_line_counts(std::string_view who, size_t hypotheses, size_t references) {
  TORCH_CHECK_VALUE(hypotheses == references, who,
                    ": expected as many hypotheses as references, got ", hypotheses,
                    " hypotheses and ", references, " references");
  TORCH_CHECK_VALUE(hypotheses > 0, who, ": expected at least one line, got none");
}

bool is_space(char32_t character) {
  const bool separator = character >= 0x1c && character <= 0x1f;  // white space in Python only
  return separator || u_isUWhiteSpace(static_cast<UChar32>(character));
}

std::vector<std::u32string_view> split_at_spaces(std::u32string_view text) {
  std::vector<std::u32string_view> parts;
  for (auto start = text.begin();;) {
    start = std::find_if_not(start, text.end(), is_space);
    if (start == text.end()) return parts;
    const auto end = std::find_if(start, text.end(), is_space);
    parts.emplace_back(start, end);
    start = end;
  }
}

}  // namespace attend::detail
