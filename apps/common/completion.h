#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace attend::app {

/// Scripts that complete a program's command line: subcommands, flags, and the values of flags that
/// are names or files.
std::string bash_completion(CLI::App& program);
std::string zsh_completion(CLI::App& program);
std::string fish_completion(CLI::App& program);

}  // namespace attend::app
