#include "detail/markup.h"

#include <cstdint>

#include "detail/utf8.h"

namespace attend::detail {

std::string escape_markup(std::string_view text) {
  std::string out;
  const auto printable = printable_utf8(text);
  for (std::string_view rest = printable; !rest.empty();) {
    const auto c = first_code_point(rest);
    switch (c.value) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += rest.substr(0, c.length);
    }
    rest.remove_prefix(c.length);
  }
  return out;
}

std::string base64(std::string_view bytes) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (size_t at = 0; at < bytes.size(); at += 3) {
    const auto group = bytes.substr(at, 3);
    uint32_t bits = 0;
    for (size_t i = 0; i < 3; ++i) {
      bits = (bits << 8) | (i < group.size() ? static_cast<unsigned char>(group[i]) : 0u);
    }
    for (size_t i = 0; i < 4; ++i) {
      out += i <= group.size() ? kDigits[(bits >> (18 - 6 * i)) & 63u] : '=';
    }
  }
  return out;
}

}  // namespace attend::detail
