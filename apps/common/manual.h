#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <utility>
#include <vector>

namespace attend::app {

/// The pages of the manual by name: one of the program, and one of each subcommand
/// (`attend-seq2seq-train`), in the macros of man(7).
std::vector<std::pair<std::string, std::string>> manual(CLI::App& program);

}  // namespace attend::app
