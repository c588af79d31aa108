#pragma once

#include <string>
#include <string_view>

namespace attend::detail {

/// Text escaped for XML 1.0 and HTML, for elements and attributes. Unprintable characters and bytes
/// that are not UTF-8 are replaced.
std::string escape_markup(std::string_view text);

/// Source: RFC 4648, section 4.
std::string base64(std::string_view bytes);

}  // namespace attend::detail
