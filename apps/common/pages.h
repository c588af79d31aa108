#pragma once

#include <CLI/CLI.hpp>

namespace attend::app {

/// Adds the hidden flag `--write-pages FOLDER`, with which the build lets a program write all that is
/// made of its flags: `help_pages.cpp` for the launcher, the manual's pages in `man1`, and what
/// completes its command line in `bash`, `zsh` and `fish`, each named as the shell looks for it.
void add_page_flag(CLI::App& program);

}  // namespace attend::app
