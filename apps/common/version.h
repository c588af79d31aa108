#pragma once

#include <CLI/CLI.hpp>

namespace attend::app {

/// Adds `--version`: the program, attend's version and that of the LibTorch it was built with.
void add_version_flag(CLI::App& app);

}  // namespace attend::app
