#pragma once

#include <CLI/CLI.hpp>
#include <optional>

namespace attend::app {

inline constexpr int kUsage = 2;  // the exit status after a usage error

/// Adds `--version`, which prints the versions of attend and of the LibTorch it was built with.
void add_version_flag(CLI::App& app);

/// Parses the command line. Returns an exit status if the program must end: 0 after --help and
/// --version, kUsage after a usage error.
std::optional<int> parse(CLI::App& app, int argc, char** argv);

/// Returns `run`'s exit status. On an exception prints `name` and the message to standard error,
/// and returns 1.
int run_program(const char* name, int (*run)(int argc, char** argv), int argc, char** argv);

}  // namespace attend::app
