#pragma once

#include <CLI/CLI.hpp>
#include <optional>

#include "common/message_stream.h"

namespace attend::app {

inline constexpr int kUsage = 2;  // the exit status after a usage error

/// Adds `--version`, which prints the versions of attend and LibTorch, the instruction sets that
/// both use on this processor, and the threads.
void add_version_flag(CLI::App& app);

/// Adds the flags that every command has (--config, --dump-config, --log, --quiet) and parses the
/// command line. `messages` then go where these flags say. Returns an exit status if the program
/// must end: 0 after --help, --version and --dump-config, kUsage after a usage error.
std::optional<int> parse(CLI::App& app, int argc, char** argv, MessageStream& messages);

/// Ends the process with `run`'s exit status. On an exception prints `name` and the message to
/// standard error, also if messages are not shown, and the status is 1.
///
/// What is static is not destroyed: LibTorch would take all its operators apart, one by one, which
/// takes longer than to translate a line.
[[noreturn]] void run_program(const char* name,
                              int (*run)(int argc, char** argv, MessageStream& messages), int argc,
                              char** argv);

}  // namespace attend::app
