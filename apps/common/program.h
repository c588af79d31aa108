#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <optional>

namespace attend::app {

/// Adds --version, which tells LibTorch's version too.
void add_version_flag(CLI::App& app);

/// Reads the command line. Returns the exit status where the program ends here: 0 after --help and
/// --version, 2 for a command line that is not understood, which it says on standard error.
std::optional<int> parse_command_line(CLI::App& app, int argc, char** argv);

/// The exit status of `body`; 1 for an exception, whose message goes to standard error behind `name`.
int run_program(const char* name, const std::function<int()>& body) noexcept;

}  // namespace attend::app
