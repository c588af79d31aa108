#include "common/completion.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <vector>

#include "common/flags.h"

namespace attend::app {
namespace {

enum class Values { kNone, kChoices, kNumber, kFile };

Values values_of(const CLI::Option& option) {
  if (is_switch(option)) return Values::kNone;
  if (!choices_of(option).empty()) return Values::kChoices;
  constexpr std::array<std::string_view, 4> kNumbers{"INT", "NUMBER", "TIME", "INT|mean"};
  return std::ranges::find(kNumbers, option.get_type_name()) == kNumbers.end() ? Values::kFile
                                                                               : Values::kNumber;
}

// All names with their dashes.
std::vector<std::string> names_of(const CLI::Option& option) {
  std::vector<std::string> names;
  for (const auto& name : option.get_snames()) names.push_back("-" + name);
  for (const auto& name : option.get_lnames()) names.push_back("--" + name);
  return names;
}

std::vector<const CLI::Option*> flags_of(const CLI::App& command) {
  auto options = shown_options(command);
  std::erase_if(options, [](const CLI::Option* option) { return option->get_positional(); });
  return options;
}

std::string all_names(const CLI::App& command) {
  std::string names;
  for (const auto* option : flags_of(command)) {
    if (!names.empty()) names += ' ';
    names += fmt::format("{}", fmt::join(names_of(*option), " "));
  }
  return names;
}

bool has_subcommands(CLI::App& program) { return commands_of(program).front() != &program; }

// Within single quotes of the shell.
std::string quotable(const std::string& text) {
  return CLI::detail::find_and_replace(text, "'", "'\\''");
}

std::string bash_values(const std::string& command, const CLI::Option& option) {
  std::string patterns;
  for (const auto& name : names_of(option)) {
    patterns += fmt::format("{}'{} {}'", patterns.empty() ? "" : "|", command, name);
  }
  const auto kind = values_of(option);
  const auto action = kind == Values::kChoices
                          ? fmt::format("words='{}'", fmt::join(choices_of(option), " "))
                      : kind == Values::kNumber ? std::string("words=' '")
                                                : std::string("words=");
  return fmt::format("    {}) most={} {} ;;\n", patterns, option.get_items_expected_max(), action);
}

// A specification of zsh's _arguments.
std::string zsh_argument(const CLI::Option& option) {
  auto help = quotable(option.get_description());
  for (const auto* special : {"[", "]", ":"}) {
    help = CLI::detail::find_and_replace(help, special, std::string("\\") + special);
  }
  const auto kind = values_of(option);
  const auto value = kind == Values::kNone   ? std::string()
                     : kind == Values::kFile ? std::string(":file:_files")
                     : kind == Values::kNumber
                         ? std::string(":number: ")
                         : fmt::format(":value:({})", fmt::join(choices_of(option), " "));
  std::string values;
  constexpr int kMostValues = 2;
  for (int i = 0; i < std::min(option.get_items_expected_max(), kMostValues); ++i) values += value;
  const auto names = names_of(option);
  std::string arguments;
  for (const auto& name : names) {
    // What may follow it at once: --name=value, -nvalue.
    const auto* joined = kind == Values::kNone ? "" : name.starts_with("--") ? "=" : "+";
    arguments +=
        fmt::format(" '({}){}{}[{}]{}'", fmt::join(names, " "), name, joined, help, values);
  }
  return arguments;
}

std::string zsh_arguments(const CLI::App& command) {
  std::string text = "_arguments";
  for (const auto* option : flags_of(command)) text += " \\\n     " + zsh_argument(*option);
  return text + " '*:file:_files'";
}

std::string fish_flag(const std::string& start, const CLI::Option& option) {
  auto text = start;
  for (const auto& name : option.get_snames()) text += " -s " + name;
  for (const auto& name : option.get_lnames()) text += " -l " + name;
  const auto kind = values_of(option);
  if (kind == Values::kFile) text += " -r -F";
  if (kind == Values::kNumber) text += " -x";
  if (kind == Values::kChoices) {
    text += fmt::format(" -x -a '{}'", fmt::join(choices_of(option), " "));
  }
  return fmt::format("{} -d '{}'\n", text,
                     CLI::detail::find_and_replace(option.get_description(), "'", "\\'"));
}

}  // namespace

std::string bash_completion(CLI::App& program) {
  const auto name = program.get_name();
  const auto function = "_" + CLI::detail::find_and_replace(name, "-", "_");
  std::string flags, values, subcommands;
  for (const auto* command : commands_of(program)) {
    const auto own = command == &program ? "" : command->get_name();
    if (!own.empty()) subcommands += own + " ";
    flags += fmt::format("    '{}') words='{}' ;;\n", own, all_names(*command));
    for (const auto* option : flags_of(*command)) {
      if (!is_switch(*option)) values += bash_values(own, *option);
    }
  }
  const auto first = has_subcommands(program) ? fmt::format(R"(  if (( ${{#given[@]}} == 1 )); then
    COMPREPLY=($(compgen -W '{}{}' -- "$current"))
    return
  fi
  command=${{given[1]}}
)",
                                                            subcommands, all_names(program))
                                              : "";
  // The words before the current one, of which = is one. A flag is given values until it has its
  // most; files are bash's own to complete.
  return fmt::format(R"(# Completes the command line of {name} in bash.
{function}() {{
  local current=${{COMP_WORDS[COMP_CWORD]}} command= words= most=0 word at
  local given=()
  for word in "${{COMP_WORDS[@]:0:COMP_CWORD}}"; do
    [[ $word == = ]] || given+=("$word")
  done
  [[ $current != = ]] || current=
  COMPREPLY=()
{first}  at=$(( ${{#given[@]}} - 1 ))
  while (( at > 0 )) && [[ ${{given[at]}} != -* ]]; do at=$(( at - 1 )); done
  case "$command ${{given[at]}}" in
{values}  esac
  if (( ${{#given[@]}} - at > most )) || [[ $current == -* ]]; then
    case "$command" in
{flags}    esac
  fi
  if [[ $words == ' ' ]]; then
    compopt +o default 2>/dev/null
  elif [[ -n $words ]]; then
    COMPREPLY=($(compgen -W "$words" -- "$current"))
  fi
}}
complete -o default -F {function} {name}
)",
                     fmt::arg("name", name), fmt::arg("function", function),
                     fmt::arg("first", first), fmt::arg("values", values),
                     fmt::arg("flags", flags));
}

std::string zsh_completion(CLI::App& program) {
  const auto name = program.get_name();
  if (!has_subcommands(program)) {
    return fmt::format("#compdef {}\n{}\n", name, zsh_arguments(program));
  }
  std::string described, cases;
  for (const auto* command : commands_of(program)) {
    described += fmt::format(" '{}:{}'", command->get_name(), quotable(command->get_description()));
    cases += fmt::format("  {}) {} ;;\n", command->get_name(), zsh_arguments(*command));
  }
  return fmt::format(R"(#compdef {}
if (( CURRENT == 2 )); then
  local -a commands=({} )
  _describe command commands
  {}
  return
fi
local command=$words[2]
shift words
(( CURRENT -= 1 ))
case $command in
{}esac
)",
                     name, described, zsh_arguments(program), cases);
}

std::string fish_completion(CLI::App& program) {
  const auto start = "complete -c " + program.get_name();
  std::string text;
  if (has_subcommands(program)) {
    for (const auto* command : commands_of(program)) {
      text += fmt::format("{} -f -n __fish_use_subcommand -a {} -d '{}'\n", start,
                          command->get_name(), command->get_description());
    }
    for (const auto* option : flags_of(program)) {
      text += fish_flag(start + " -n __fish_use_subcommand", *option);
    }
  }
  for (const auto* command : commands_of(program)) {
    const auto where = command == &program ? start
                                           : fmt::format("{} -n '__fish_seen_subcommand_from {}'",
                                                         start, command->get_name());
    for (const auto* option : flags_of(*command)) text += fish_flag(where, *option);
  }
  return text;
}

}  // namespace attend::app
