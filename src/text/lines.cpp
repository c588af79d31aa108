#include "attend/text/lines.h"

#include <fmt/format.h>

#include <utility>

#include "attend/file_error.h"
#include "detail/read_file.h"
#include "detail/utf8.h"

namespace attend {
namespace {

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

// The name of a non-text format that the first bytes indicate, if any.
std::optional<std::string_view> foreign_format(std::string_view start) {
  if (start.starts_with("\x1F\x8B")) return "a gzip file; decompress it first";
  if (start.starts_with("\xFF\xFE") || start.starts_with("\xFE\xFF")) {
    return "UTF-16; convert it first";
  }
  return std::nullopt;
}

}  // namespace

LineReader::LineReader(std::istream& stream, std::string name)
    : stream_(stream), name_(std::move(name)) {}

std::optional<std::string> LineReader::next() {
  std::string line;
  if (!std::getline(stream_, line)) {
    if (stream_.bad())
      throw FileError(name_, fmt::format("reading failed after line {}", line_number_));
    return std::nullopt;
  }
  const bool ended_by_newline = !stream_.eof();
  ++line_number_;
  if (line_number_ == 1) {
    if (const auto format = foreign_format(line)) {
      throw FileError(name_, fmt::format("expected UTF-8 text, got {}", *format));
    }
    if (line.starts_with(kByteOrderMark)) {
      line.erase(0, kByteOrderMark.size());
      if (line.empty() && !ended_by_newline) {  // only a byte order mark: an empty file
        line_number_ = 0;
        return std::nullopt;
      }
    }
  }
  if (ended_by_newline && line.ends_with('\r')) line.pop_back();

  if (const auto at = detail::find_invalid_utf8(line)) {
    throw FileError(name_,
                    fmt::format("expected UTF-8 in line {}, got the byte 0x{:02X} at column {}",
                                line_number_, static_cast<unsigned char>(line[*at]), *at + 1));
  }
  if (const auto at = line.find('\0'); at != std::string::npos) {
    throw FileError(name_, fmt::format("expected text in line {}, got a NUL at column {}",
                                       line_number_, at + 1));
  }
  return line;
}

std::vector<std::string> read_lines(const std::filesystem::path& path) {
  auto file = detail::open_for_reading(path);
  LineReader reader(file, path.string());
  std::vector<std::string> lines;
  while (auto line = reader.next()) lines.push_back(std::move(*line));
  return lines;
}

}  // namespace attend
