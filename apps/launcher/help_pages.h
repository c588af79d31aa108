#pragma once

#include <span>
#include <string_view>

namespace attend::app {

/// What a program prints for `--help`.
struct HelpPage {
  std::string_view subcommand;  // "": the program's own page
  std::string_view text;
};

/// The pages of the program that this launcher belongs to; the build takes them from the program.
std::span<const HelpPage> help_pages();

}  // namespace attend::app
