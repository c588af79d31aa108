#pragma once

#include <CLI/CLI.hpp>
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "common/number_flag.h"

namespace attend::app {

/// The values of a flag by name, in the order of the help.
template <typename T>
using Choices = std::vector<std::pair<std::string, T>>;

/// A check that a value is one of some names, which the help lists.
inline CLI::Validator one_of(const std::vector<std::string>& names) {
  const auto list = CLI::detail::join(names, ", ");
  return CLI::Validator(
      [names, list](std::string& value) {
        return std::ranges::find(names, value) == names.end()
                   ? "expected one of " + list + ", got " + shown(value)
                   : std::string();
      },
      "{" + CLI::detail::join(names, ",") + "}");
}

/// Adds a flag whose value is one of some names, with the current `value` as default.
template <typename T>
CLI::Option* add_choice(CLI::App& app, const std::string& flag, T& value, const Choices<T>& choices,
                        const std::string& help) {
  std::vector<std::string> names;
  for (const auto& choice : choices) names.push_back(choice.first);
  const auto& preset = *std::ranges::find(choices, value, &std::pair<std::string, T>::second);
  const auto set = [&value, choices](const std::string& name) {
    value = std::ranges::find(choices, name, &std::pair<std::string, T>::first)->second;
  };
  return app.add_option_function<std::string>(flag, set, help)
      ->check(one_of(names))
      ->default_str(preset.first);
}

}  // namespace attend::app
