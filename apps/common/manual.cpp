#include "common/manual.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>

#include "common/flags.h"

namespace attend::app {
namespace {

// Text as roff takes it: a hyphen is a minus, and no line begins with a request.
std::string roff(const std::string& text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '\\') {
      escaped += "\\e";
    } else if (c == '-') {
      escaped += "\\-";
    } else {
      escaped += c == '\n' ? ' ' : c;
    }
  }
  return escaped.starts_with('.') || escaped.starts_with('\'') ? "\\&" + escaped : escaped;
}

std::string bold(const std::string& text) { return "\\fB" + roff(text) + "\\fR"; }
std::string italic(const std::string& text) { return "\\fI" + roff(text) + "\\fR"; }

// Names and the kind of value: "-m, --model-dir TEXT".
std::string option_term(const CLI::Option& option) {
  std::string text;
  for (const auto& name : option.get_snames()) text += bold("-" + name) + ", ";
  for (const auto& name : option.get_lnames()) text += bold("--" + name) + ", ";
  if (text.empty()) text = italic(long_name(option)) + ", ";
  text.resize(text.size() - 2);
  if (is_switch(option) || option.get_positional()) return text;
  const auto choices = choices_of(option);
  const auto type = option.get_type_name();
  return text + " " +
         (choices.empty() ? italic(type) : roff(fmt::format("{}", fmt::join(choices, "|"))));
}

std::string paragraph(const CLI::Option& option) {
  auto text = option.get_description();
  const auto preset = default_values(option);
  if (!preset.empty()) text += fmt::format(" (default: {})", fmt::join(preset, " "));
  if (option.get_required()) text += " (required)";
  return fmt::format(".TP\n{}\n{}\n", option_term(option), roff(text));
}

std::string option_paragraphs(const CLI::App& command) {
  std::string text, group;
  for (const auto* option : shown_options(command)) {
    const auto own = option->get_positional() ? "Arguments" : option->get_group();
    if (own != group) text += fmt::format(".SS {}\n", roff(own));
    group = own;
    text += paragraph(*option);
  }
  return text;
}

// "Translate text." as the NAME section has it: "translate text".
std::string summary(const CLI::App& command) {
  auto text = command.get_description();
  if (text.ends_with('.')) text.pop_back();
  if (!text.empty()) text[0] = static_cast<char>(std::tolower(static_cast<unsigned char>(text[0])));
  return text;
}

std::string manual_page(const std::string& name, const std::string& start, const CLI::App& command,
                        const std::string& commands, const std::vector<std::string>& others) {
  auto upper = name;
  std::ranges::transform(upper, upper.begin(),
                         [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  std::string arguments;
  for (const auto* option : shown_options(command)) {
    if (option->get_positional()) arguments += " [" + italic(long_name(*option)) + " ...]";
  }
  std::string see;
  for (const auto& other : others) {
    see += fmt::format("{}.BR {} (1)", see.empty() ? "" : " ,\n", roff(other));
  }
  return fmt::format(
      ".TH {} 1 \"\" \"attend {}\" \"attend\"\n.SH NAME\n{} \\- {}\n.SH SYNOPSIS\n{} {}{}\n"
      ".SH DESCRIPTION\n{}\n{}.SH OPTIONS\n{}"
      ".SH EXIT STATUS\n0 on success, 1 on failure, 2 after wrong usage.\n{}",
      roff(upper), ATTEND_VERSION, roff(name), roff(summary(command)), bold(start),
      commands.empty() ? "[" + italic("options") + "]"
                       : italic("command") + " [" + italic("options") + "]",
      arguments, roff(command.get_description()), commands, option_paragraphs(command),
      see.empty() ? "" : ".SH SEE ALSO\n" + see + "\n");
}

}  // namespace

std::vector<std::pair<std::string, std::string>> manual(CLI::App& program) {
  const auto name = program.get_name();
  std::vector<std::pair<std::string, std::string>> pages;
  std::string commands;
  std::vector<std::string> names;
  for (auto* command : commands_of(program)) {
    if (command == &program) continue;
    names.push_back(name + "-" + command->get_name());
    commands +=
        fmt::format(".TP\n{}\n{}\n", bold(command->get_name()), roff(command->get_description()));
    pages.emplace_back(names.back(), manual_page(names.back(), name + " " + command->get_name(),
                                                 *command, "", {name}));
  }
  if (!commands.empty()) commands = ".SH COMMANDS\n" + commands;
  pages.emplace_back(name, manual_page(name, name, program, commands, names));
  return pages;
}

}  // namespace attend::app
