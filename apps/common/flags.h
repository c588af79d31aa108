#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace attend::app {

/// What the object model of CLI11 says about a program's flags, for files that are written from it.

/// The commands that have flags of their own to run: the subcommands, or the program itself.
std::vector<CLI::App*> commands_of(CLI::App& program);

/// The flags and positional arguments that the help shows, in its order.
std::vector<const CLI::Option*> shown_options(const CLI::App& command);

/// The long name without dashes, or that of a positional argument.
std::string long_name(const CLI::Option& option);

/// Whether it is a switch, which takes no value.
bool is_switch(const CLI::Option& option);

/// Whether a switch is on.
bool is_on(const CLI::Option& option);

/// Whether it takes more than one value.
bool takes_several(const CLI::Option& option);

/// The values that it has when it is not given; none where the program does not say.
std::vector<std::string> default_values(const CLI::Option& option);

/// The names that it takes, where they are few.
std::vector<std::string> choices_of(const CLI::Option& option);

}  // namespace attend::app
