#include "detail/read_file.h"

#include <fmt/format.h>

#include <cerrno>
#include <sstream>
#include <system_error>
#include <utility>

#include "attend/file_error.h"

namespace attend::detail {

std::ifstream open_for_reading(const std::filesystem::path& path) {
  // A directory can be opened like a file and fails only on reading, without a reason.
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) {
    throw FileError(path, "expected a file, got a folder");
  }
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    throw FileError(path, fmt::format("cannot read: {}", std::generic_category().message(errno)));
  }
  return file;
}

std::string read_file(const std::filesystem::path& path) {
  auto file = open_for_reading(path);
  std::ostringstream bytes;
  // Inserting an empty file sets failbit, which says nothing; badbit of the source is the error.
  bytes << file.rdbuf();
  if (file.bad() || bytes.bad()) throw FileError(path, "cannot read: an input error");
  return std::move(bytes).str();
}

std::string read_regular_file(const std::filesystem::path& path) {
  std::error_code ignored;  // what may not be looked at cannot be opened either
  const auto status = std::filesystem::status(path, ignored);
  if (status.type() != std::filesystem::file_type::unknown && std::filesystem::exists(status) &&
      !std::filesystem::is_regular_file(status)) {
    throw FileError(path, "expected a regular file, got a folder or a special file");
  }
  return read_file(path);
}

}  // namespace attend::detail
