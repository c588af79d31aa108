#pragma once

#include <fmt/format.h>

#include <optional>
#include <string>
#include <string_view>

#include "detail/excerpt.h"
#include "detail/json_file.h"
#include "modules/enum_names.h"

namespace attend::detail {

/// The value that the string `wanted`, of `key` in the file, names. `except` is not accepted.
template <typename Enum>
Enum value_named(const JsonFile& config, const char* key, std::string_view wanted,
                 const std::optional<Enum>& except = std::nullopt) {
  std::string known;
  for (const auto& [name, value] : kEnumNames<Enum>) {
    if (value == except) continue;
    if (name == wanted) return value;
    if (!known.empty()) known += ", ";
    known += name;
  }
  throw FileError(config.path(), fmt::format("expected {} to be one of {}, got {}", key, known,
                                             in_quotes(wanted)));
}

template <typename Enum>
Enum value_of(const JsonFile& config, const char* key) {
  return value_named<Enum>(config, key, config.get<std::string>(key));
}

}  // namespace attend::detail
