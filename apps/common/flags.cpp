#include "common/flags.h"

#include <algorithm>

namespace attend::app {

std::vector<CLI::App*> commands_of(CLI::App& program) {
  auto subcommands = program.get_subcommands([](const CLI::App*) { return true; });
  if (subcommands.empty()) subcommands.push_back(&program);
  return subcommands;
}

std::vector<const CLI::Option*> shown_options(const CLI::App& command) {
  std::vector<const CLI::Option*> positional, others;
  for (const auto* option : command.get_options()) {
    if (option->get_positional()) positional.push_back(option);
  }
  for (const auto& group : command.get_groups()) {
    if (group.empty()) continue;
    for (const auto* option : command.get_options()) {
      if (!option->get_positional() && option->get_group() == group) others.push_back(option);
    }
  }
  positional.insert(positional.end(), others.begin(), others.end());
  return positional;
}

std::string long_name(const CLI::Option& option) { return option.get_single_name(); }

bool is_switch(const CLI::Option& option) { return option.get_items_expected_max() == 0; }

bool is_on(const CLI::Option& option) {
  if (option.empty()) return false;
  // A negated switch holds "false" where it is given.
  const auto on = CLI::detail::to_flag_value(option.get_flag_value(long_name(option), "true"));
  return CLI::detail::to_flag_value(option.results().back()) * on > 0;
}

bool takes_several(const CLI::Option& option) { return option.get_items_expected_max() > 1; }

std::vector<std::string> default_values(const CLI::Option& option) {
  const auto text = option.get_default_str();
  if (text.empty()) return {};
  // A list is written as LibTorch's << does.
  return takes_several(option) ? CLI::detail::split(text, ' ') : std::vector<std::string>{text};
}

std::vector<std::string> choices_of(const CLI::Option& option) {
  const auto type = option.get_type_name();
  const auto start = type.find('{'), end = type.rfind('}');
  if (start == std::string::npos || end == std::string::npos) return {};
  return CLI::detail::split(type.substr(start + 1, end - start - 1), ',');
}

}  // namespace attend::app
