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

/// Reads text line by line, with or without a byte order mark, with LF or CRLF, with or without a
/// newline at the end.
///
/// A byte order mark at the start and the CR of a CRLF are removed. Everything else is kept,
/// including empty lines, tabs and lone CRs; only LF ends a line. A line is returned as soon as its
/// LF has been read, without waiting for more input from a pipe.
///
/// Throws: FileError from next() with the name and the 1-based line number if a line is not UTF-8
///         or contains a NUL, if the input is a gzip file, or if reading fails. The next call
///         continues with the next line.
///         call goes on with the line after.
class ATTEND_TOOLKIT_API LineReader {
 public:
  /// `name` identifies the input in errors: its path, or "standard input". `stream` must outlive
  /// this.
  LineReader(std::istream& stream, std::string name);

  /// The next line without its line end; nullopt at the end of the input.
  std::optional<std::string> next();

  /// The 1-based number of the last line that next() returned or rejected; 0 before the first.
  int64_t line_number() const { return line_number_; }

 private:
  std::istream& stream_;
  std::string name_;
  int64_t line_number_ = 0;
};

/// All lines of a text file, read by LineReader.
///
/// Throws: FileError as LineReader does, and if the file is missing, a folder or unreadable.
ATTEND_TOOLKIT_API std::vector<std::string> read_lines(const std::filesystem::path& path);

}  // namespace attend
