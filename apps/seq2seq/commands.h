#pragma once

#include <CLI/CLI.hpp>
#include <functional>

namespace attend::app {

/// Each adds one subcommand with its flags, whose defaults are those of the options structs, and
/// returns what it does once the flags are parsed: its exit code.
using Command = std::function<int()>;

Command add_demo(CLI::App& app);
Command add_train(CLI::App& app);
Command add_translate(CLI::App& app);
Command add_evaluate(CLI::App& app);

}  // namespace attend::app
