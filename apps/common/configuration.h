#pragma once

#include <CLI/CLI.hpp>
#include <filesystem>
#include <string>

namespace attend::app {

/// A command's flags as TOML: each with its help as a comment and its value, given or default; one
/// without a value as a comment. `read_configuration` reads it.
///
/// Throws: c10::ValueError if a value is not UTF-8, which TOML cannot hold.
std::string configuration(const CLI::App& command);

/// Sets flags of a command that the command line does not give, from a TOML file: `beam-size = 4`
/// is `--beam-size 4`, `score = true` is `--score`, and a list holds several values. `false` leaves
/// a switch off.
///
/// Throws: FileError if the file cannot be read; CLI::ValidationError, which names the file and the
///         line, for what is not TOML, for a key that is no flag of the command, and for a value
///         that the flag refuses.
void read_configuration(CLI::App& command, const std::filesystem::path& path);

}  // namespace attend::app
