#pragma once

#include <string>
#include <string_view>

namespace attend::detail {

/// Text as XML 1.0 and HTML take it, in elements and attributes alike. What cannot be printed, and
/// bytes that are not UTF-8, are replaced.
std::string escape_markup(std::string_view text);

/// Source: RFC 4648, section 4.
std::string base64(std::string_view bytes);

}  // namespace attend::detail
