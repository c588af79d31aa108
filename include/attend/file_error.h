#pragma once

// For programs that read or write files with attend.

#include <filesystem>
#include <stdexcept>
#include <string>

#include "attend/export.h"

namespace attend {

/// Thrown if a file cannot be read or written, or has invalid content.
///
/// The message is `<path>: <problem>`; the problem says what was expected and what was found, or
/// gives the system's reason (`cannot write: No space left on device`).
class ATTEND_API FileError : public std::runtime_error {
 public:
  FileError(const std::filesystem::path& path, const std::string& problem)
      : std::runtime_error(path.string() + ": " + problem) {}
};

}  // namespace attend
