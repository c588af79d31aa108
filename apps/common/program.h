#pragma once

#include <CLI/CLI.hpp>
#include <optional>

namespace attend::app {

inline constexpr int kUsage = 2;  // the exit status of wrong usage

/// Adds `--version`: the program, attend's version and that of the LibTorch it was built with.
void add_version_flag(CLI::App& app);

/// Reads the command line. Returns the exit status where the program ends with that: 0 after --help
/// and --version, kUsage for wrong usage.
std::optional<int> parse(CLI::App& app, int argc, char** argv);

/// `run`'s exit status. What it throws becomes a line on standard error that begins with `name`, and
/// the exit status 1.
int run_program(const char* name, int (*run)(int argc, char** argv), int argc, char** argv);

}  // namespace attend::app
