#pragma once

#include <filesystem>
#include <fstream>
#include <string>

namespace attend::detail {

/// Opens a file to read its bytes.
///
/// Throws: FileError where it is missing, a folder or unreadable.
std::ifstream open_for_reading(const std::filesystem::path& path);

/// All bytes of a file.
///
/// Throws: FileError as open_for_reading does, and where reading fails.
std::string read_file(const std::filesystem::path& path);

/// The same for a file of a model folder: a pipe or a device, which might never end, is refused
/// too.
std::string read_regular_file(const std::filesystem::path& path);

}  // namespace attend::detail
