#pragma once

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <cmath>
#include <concepts>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>

#include "detail/utf8.h"

namespace attend::app {

template <typename T>
concept Number = (std::integral<T> && !std::same_as<T, bool>) || std::same_as<T, double>;

/// What a numeric flag may be: from `least` to `most`, both of them too unless left out.
template <Number T>
struct NumberRange {
  T least, most;
  bool without_least = false, without_most = false;
  bool or_zero = false;  // 0 is outside, and allowed

  bool contains(T value) const {
    if (or_zero && value == T{0}) return true;
    return (without_least ? value > least : value >= least) &&
           (without_most ? value < most : value <= most);
  }

  /// "a whole number in [1, 1000]", "0 or a number in (1, 2)".
  std::string to_string() const {
    return fmt::format("{}{} in {}{}, {}{}", or_zero ? "0 or " : "",
                       std::integral<T> ? "a whole number" : "a number", without_least ? '(' : '[',
                       least, most, without_most ? ')' : ']');
  }
};

inline constexpr NumberRange<double> kProbability{.least = 0, .most = 1, .without_most = true};
inline constexpr NumberRange<double> kPart{.least = 0, .most = 1};
inline constexpr NumberRange<int64_t> kBeamSizes{.least = 1, .most = 1000};
inline constexpr NumberRange<uint64_t> kSeeds{.least = 0, .most = UINT64_MAX};

/// A user's text as a message shows it: on one line and not without end.
inline std::string shown(std::string_view text) {
  constexpr size_t kMost = 60;  // characters
  if (text.empty()) return "an empty text";
  const auto printable = detail::printable_utf8(text);
  const auto start = detail::utf8_prefix(printable, kMost);
  return start.size() < printable.size() ? std::string(start) + "..." : printable;
}

/// The number that a text is. Throws CLI::ValidationError, which names the flag, the range and the
/// text, for anything else: other characters, what is no number (nan) or not finite, and numbers
/// out of the range. `otherwise` is what else the flag takes.
template <Number T>
T parse_number(const std::string& flag, const std::string& text, const NumberRange<T>& range,
               std::string_view otherwise = {}) {
  T value{};
  const auto* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  bool is_number = error == std::errc() && stop == end && range.contains(value);
  if constexpr (std::same_as<T, double>) is_number = is_number && std::isfinite(value);
  if (!is_number) {
    throw CLI::ValidationError(
        flag, fmt::format("expected {}{}{}, got {}", otherwise, otherwise.empty() ? "" : " or ",
                          range.to_string(), shown(text)));
  }
  return value;
}

template <Number T, typename Value>
CLI::Option* add_number_option(CLI::App& app, const std::string& names, Value& value,
                               const NumberRange<T>& range, const std::string& help) {
  const auto flag = names.substr(names.find("--"));
  const auto set = [&value, flag, range](const std::string& text) {
    value = parse_number(flag, text, range);
  };
  return app.add_option_function<std::string>(names, set, help)
      ->type_name(std::integral<T> ? "INT" : "NUMBER");
}

/// A flag that takes a number of a range. It has no default: `value` stays empty without the flag.
/// `names` are as CLI11 takes them, the last one long: "-b,--beam-size".
template <Number T>
CLI::Option* add_number(CLI::App& app, const std::string& names, std::optional<T>& value,
                        const std::type_identity_t<NumberRange<T>>& range,
                        const std::string& help) {
  return add_number_option<T>(app, names, value, range, help);
}

/// The same with `value` as the default.
template <Number T>
CLI::Option* add_number(CLI::App& app, const std::string& names, T& value,
                        const std::type_identity_t<NumberRange<T>>& range,
                        const std::string& help) {
  return add_number_option<T>(app, names, value, range, help)
      ->default_str(fmt::format("{}", value));
}

}  // namespace attend::app
