#include "common/configuration.h"

#include <c10/util/Exception.h>
#include <fmt/format.h>
#include <toml++/toml.h>

#include <charconv>
#include <cmath>
#include <optional>
#include <sstream>
#include <vector>

#include "common/flags.h"
#include "detail/read_file.h"
#include "detail/utf8.h"

namespace attend::app {
namespace {

template <typename T>
std::optional<T> number_of(const std::string& text) {
  T value{};
  const auto* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || stop != end) return std::nullopt;
  return value;
}

std::string toml_value(const CLI::Option& option, const std::string& text) {
  const auto type = option.get_type_name();
  // Seeds may be larger than a number of TOML; they stay strings.
  if (type == "INT") {
    if (const auto value = number_of<int64_t>(text)) return fmt::format("{}", *value);
  }
  if (type == "NUMBER") {
    const auto value = number_of<double>(text);
    if (value && std::isfinite(*value)) return fmt::format("{}", *value);
  }
  TORCH_CHECK_VALUE(!detail::find_invalid_utf8(text), "--dump-config: expected UTF-8 for ",
                    long_name(option), ", got ", detail::printable_utf8(text));
  std::ostringstream quoted;
  quoted << toml::value<std::string>(text);
  return quoted.str();
}

// The value given, or the default; nullopt where there is neither.
std::optional<std::string> toml_value(const CLI::Option& option) {
  if (is_switch(option)) return is_on(option) ? "true" : "false";
  auto values = option.results();
  if (values.empty()) values = default_values(option);
  if (values.empty()) return std::nullopt;
  std::string text;
  for (const auto& value : values) text += (text.empty() ? "" : ", ") + toml_value(option, value);
  return takes_several(option) ? "[" + text + "]" : text;
}

// A value of a key, as the command line would give it.
std::optional<std::string> text_of(const toml::node& node) {
  if (const auto* value = node.as_string()) return value->get();
  if (const auto* value = node.as_boolean()) return value->get() ? "true" : "false";
  if (const auto* value = node.as_integer()) return fmt::format("{}", value->get());
  if (const auto* value = node.as_floating_point()) return fmt::format("{}", value->get());
  return std::nullopt;
}

std::optional<std::vector<std::string>> texts_of(const toml::node& node) {
  std::vector<std::string> texts;
  const auto add = [&](const toml::node& one) {
    const auto text = text_of(one);
    if (text) texts.push_back(*text);
    return text.has_value();
  };
  const auto* list = node.as_array();
  if (list == nullptr) return add(node) ? std::optional(texts) : std::nullopt;
  for (const auto& one : *list) {
    if (!add(one)) return std::nullopt;
  }
  return texts;
}

void set_flag(CLI::Option& option, const toml::node& node, const std::string& where) {
  const auto name = long_name(option);
  if (is_switch(option)) {
    const auto* value = node.as_boolean();
    if (value == nullptr) {
      throw CLI::ValidationError(where, fmt::format("--{}: expected true or false", name));
    }
    if (option.empty() && value->get()) option.add_result(option.get_flag_value(name, "true"));
  } else {
    auto texts = texts_of(node);
    if (!texts) {
      throw CLI::ValidationError(
          where, fmt::format("--{}: expected a text, a number or a list of them", name));
    }
    if (option.empty() && !texts->empty()) option.add_result(std::move(*texts));
  }
  if (option.empty()) return;
  try {
    option.run_callback();
  } catch (const CLI::ParseError& error) {
    throw CLI::ValidationError(where, error.what());
  }
}

}  // namespace

std::string configuration(const CLI::App& command) {
  std::string text;
  for (const auto* option : shown_options(command)) {
    if (!option->get_configurable()) continue;
    const auto value = toml_value(*option);
    text += fmt::format("{}# {}\n", text.empty() ? "" : "\n", option->get_description());
    text += value ? fmt::format("{} = {}\n", long_name(*option), *value)
                  : fmt::format("# {} =\n", long_name(*option));
  }
  return text;
}

void read_configuration(CLI::App& command, const std::filesystem::path& path) {
  const auto text = detail::read_file(path);
  const auto where = [&](const toml::source_region& source) {
    return fmt::format("{}: line {}", path.string(), source.begin.line);
  };
  toml::table table;
  try {
    table = toml::parse(text);
  } catch (const toml::parse_error& error) {
    throw CLI::ValidationError(where(error.source()), std::string(error.description()));
  }
  for (auto&& [key, node] : table) {
    CLI::Option* found = nullptr;
    for (auto* option : command.get_options()) {
      if (option->get_configurable() && long_name(*option) == key.str()) found = option;
    }
    if (found == nullptr) {
      throw CLI::ValidationError(
          where(node.source()),
          fmt::format("expected a flag of {}, got the key {}", command.get_name(), key.str()));
    }
    set_flag(*found, node, where(node.source()));
  }
}

}  // namespace attend::app
