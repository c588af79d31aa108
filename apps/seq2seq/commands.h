#pragma once

#include <CLI/CLI.hpp>
#include <functional>

namespace attend::app {

/// Each function adds a subcommand with its flags, whose defaults are those of the options structs,
/// and returns the function that runs it after parsing and gives the exit status.
using Command = std::function<int()>;

Command add_demo(CLI::App& app);
Command add_train(CLI::App& app);
Command add_translate(CLI::App& app);
Command add_evaluate(CLI::App& app);
Command add_serve(CLI::App& app);

}  // namespace attend::app
