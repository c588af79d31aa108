#pragma once

// For programs that turn text into tokens and back.

#include <cstdint>
#include <filesystem>
#include <istream>
#include <optional>
#include <string>
#include <vector>

#include "attend/toolkit_export.h"

namespace attend {

/// Reads text line by line: with or without a byte order mark, with LF or CRLF, with or without a
/// newline at the end.
///
/// A byte order mark at the start and the CR of a CRLF are removed; everything else is kept,
/// including empty lines, tabs and lone CRs. Only LF ends a line. A line is returned as soon as its
/// LF was read, so a reader of a pipe never waits for the next line.
///
/// Throws: FileError from next() with the name and the 1-based line number where a line is not
///         UTF-8 or holds a NUL, where the input is a gzip file, and where reading fails. The next
///         call goes on with the line after.
class ATTEND_TOOLKIT_API LineReader {
 public:
  /// `name` is what errors call the input: its path, or "standard input". The stream is borrowed.
  LineReader(std::istream& stream, std::string name);

  /// The next line without its end; none at the end of the input.
  std::optional<std::string> next();

  /// The 1-based number of the line that next() returned or refused last; 0 before the first.
  int64_t line_number() const { return line_number_; }

 private:
  std::istream& stream_;
  std::string name_;
  int64_t line_number_ = 0;
};

/// All lines of a text file, as LineReader gives them.
///
/// Throws: FileError as LineReader does, and where the file is missing, a folder or unreadable.
ATTEND_TOOLKIT_API std::vector<std::string> read_lines(const std::filesystem::path& path);

}  // namespace attend
