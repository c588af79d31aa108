#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace attend::detail {

/// The first character of a text.
struct CodePoint {
  char32_t value = 0;  // U+FFFD where the bytes are not UTF-8
  size_t length = 0;   // bytes to skip, at least 1
  bool valid = false;
};

/// Decodes the first character of `text`, which must not be empty.
///
/// Source: The Unicode Standard, table 3-7: no overlong forms, no surrogates, at most U+10FFFF.
CodePoint first_code_point(std::string_view text);

/// Byte offset of the first byte that is not UTF-8; none where all of `text` is.
std::optional<size_t> find_invalid_utf8(std::string_view text);

/// `text` with every byte that is not UTF-8, every control character and every noncharacter, such as
/// U+FFFE, replaced by U+FFFD: XML and Cairo refuse them.
std::string printable_utf8(std::string_view text);

/// The first `count` characters of `text`, which must be UTF-8.
std::string_view utf8_prefix(std::string_view text, size_t count);

/// The number of terminal columns that `text` takes: 0 for combining marks, 2 for wide (East Asian,
/// emoji) characters, 1 for others.
///
/// Source: Unicode Standard Annex #11 (East Asian Width), its ranges W and F.
int64_t display_width(std::string_view text);

}  // namespace attend::detail
