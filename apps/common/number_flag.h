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

/// The range of a numeric flag, `least` and `most` included unless excluded by the switches.
template <Number T>
struct NumberRange {
  T least, most;
  bool without_least = false, without_most = false;
  bool or_zero = false;  // 0 is allowed although outside the range

  bool contains(T value) const {
    if (or_zero && value == T{0}) return true;
    return (without_least ? value > least : value >= least) &&
           (without_most ? value < most : value <= most);
  }

  /// Such as "a whole number in [1, 1000]" or "0 or a number in (1, 2)".
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

/// A user's text for an error message, on one line and shortened.
inline std::string shown(std::string_view text) {
  constexpr size_t kMost = 60;  // characters
  if (text.empty()) return "an empty text";
  const auto printable = detail::printable_utf8(text);
  const auto start = detail::utf8_prefix(printable, kMost);
  return start.size() < printable.size() ? std::string(start) + "..." : printable;
}

/// Parses a number. Throws CLI::ValidationError, which names the flag, the range and the text, for
/// anything but a finite number in the range. `otherwise`: what else the flag accepts, for the
/// message.
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

/// Adds a flag with a number in a range, without a default: `value` stays empty if the flag is not
/// given. `names` as CLI11 takes them, the long one last: "-b,--beam-size".
template <Number T>
CLI::Option* add_number(CLI::App& app, const std::string& names, std::optional<T>& value,
                        const std::type_identity_t<NumberRange<T>>& range,
                        const std::string& help) {
  return add_number_option<T>(app, names, value, range, help);
}

/// The same, with the current `value` as default.
template <Number T>
CLI::Option* add_number(CLI::App& app, const std::string& names, T& value,
                        const std::type_identity_t<NumberRange<T>>& range,
                        const std::string& help) {
  return add_number_option<T>(app, names, value, range, help)
      ->default_str(fmt::format("{}", value));
}

}  // namespace attend::app
