#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "attend/toolkit_export.h"

namespace attend {

/// Sentence pairs: target[i] is the translation of source[i].
struct ParallelText {
  std::vector<std::string> source;
  std::vector<std::string> target;  // as many as source

  size_t size() const { return source.size(); }
};

/// Reads two text files that are aligned line by line.
///
/// Throws: FileError as read_lines does, and where the numbers of lines differ.
ATTEND_TOOLKIT_API ParallelText read_parallel(const std::filesystem::path& source_path,
                                              const std::filesystem::path& target_path);

}  // namespace attend
