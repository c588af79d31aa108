#include "detail/atomic_file.h"

#include <c10/util/Exception.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <random>
#include <system_error>
#include <utility>

#include "attend/file_error.h"

namespace attend::detail {
namespace {

std::string reason(int error) { return std::generic_category().message(error); }

std::filesystem::path folder_of(const std::filesystem::path& path) {
  return path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
}

// The file that a link points to, so that the rename replaces it and not the link.
std::filesystem::path follow_links(const std::filesystem::path& path) {
  std::error_code ignored;  // whatever is wrong with the path, opening it says it better
  const auto target = std::filesystem::canonical(path, ignored);
  return ignored ? path : target;
}

constexpr auto kTemporaryPrefix = ".attend-", kTemporarySuffix = ".tmp";

uint64_t random_bits() {
  std::random_device device;
  return (uint64_t{device()} << 32) | device();
}

}  // namespace

AtomicFile::AtomicFile(const std::filesystem::path& path) : path_(follow_links(path)) {
  struct stat old {};
  const bool replaces = ::stat(path_.c_str(), &old) == 0;
  if (replaces && !S_ISREG(old.st_mode)) {
    // Renaming over it would fail for a folder and destroy a device such as /dev/stdout.
    throw FileError(path, fmt::format("expected a regular file to replace, got {}",
                                      S_ISDIR(old.st_mode) ? "a folder" : "a special file"));
  }
  // Not mkstemp, whose mode 0600 ignores the umask. The loop ends: names are 64 random bits.
  do {
    temporary_ = folder_of(path_) /
                 fmt::format("{}{:016x}{}", kTemporaryPrefix, random_bits(), kTemporarySuffix);
    descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  } while (descriptor_ < 0 && (errno == EEXIST || errno == EINTR));
  if (descriptor_ < 0) fail("create a file beside it");
  if (replaces && ::fchmod(descriptor_, old.st_mode & 07777) != 0) {
    const int error = errno;
    ::close(descriptor_);  // no destructor runs for an exception from here
    ::unlink(temporary_.c_str());
    errno = error;
    fail("set the permissions");
  }
}

AtomicFile::~AtomicFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void AtomicFile::write(std::string_view bytes) {
  TORCH_INTERNAL_ASSERT(descriptor_ >= 0, "AtomicFile: write after commit");
  while (!bytes.empty()) {
    const auto written = ::write(descriptor_, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail("write");
    bytes.remove_prefix(static_cast<size_t>(written));
  }
}

void AtomicFile::commit() {
  TORCH_INTERNAL_ASSERT(descriptor_ >= 0, "AtomicFile: commit after commit");
  while (::fsync(descriptor_) != 0) {
    if (errno != EINTR) fail("write");
  }
  // Not retried on EINTR: Linux has closed the descriptor by then.
  if (::close(std::exchange(descriptor_, -1)) != 0 && errno != EINTR) fail("write");
  if (std::rename(temporary_.c_str(), path_.c_str()) != 0) fail("rename a file to it");
  temporary_.clear();

  // The rename itself reaches the disk with its folder. A file system that cannot sync a folder
  // says EINVAL; a folder that may be written but not read cannot be opened.
  const auto folder_path = folder_of(path_);
  const int folder = ::open(folder_path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) {
    if (errno == EACCES) return;
    fail("open its folder");
  }
  const int error = ::fsync(folder) == 0 ? 0 : errno;
  ::close(folder);
  if (error != 0 && error != EINVAL) {
    errno = error;
    fail("write its folder");
  }
}

void AtomicFile::fail(const char* action) const {
  throw FileError(path_, fmt::format("cannot {}: {}", action, reason(errno)));
}

void write_file_atomically(const std::filesystem::path& path, std::string_view bytes) {
  AtomicFile file(path);
  file.write(bytes);
  file.commit();
}

void remove_leftovers(const std::filesystem::path& folder) {
  std::error_code ignored;  // a leftover that cannot be removed does no harm
  for (const auto& entry : std::filesystem::directory_iterator(folder, ignored)) {
    const auto name = entry.path().filename().string();
    if (name.starts_with(kTemporaryPrefix) && name.ends_with(kTemporarySuffix)) {
      std::filesystem::remove(entry.path(), ignored);
    }
  }
}

}  // namespace attend::detail
