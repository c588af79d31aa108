#include "attend/training/folder_lock.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string>
#include <system_error>
#include <utility>

#include "attend/file_error.h"

namespace attend {
namespace {

namespace fs = std::filesystem;

constexpr auto kLockFile = ".attend-lock";

// "process 1234 on its-machine", as the file's owner wrote it.
std::string owner(int descriptor) {
  std::array<char, 256> text{};
  const auto size = ::pread(descriptor, text.data(), text.size(), 0);
  std::string name(text.data(), static_cast<size_t>(std::max<ssize_t>(size, 0)));
  name.erase(std::ranges::find_if(name, [](char c) { return c < ' ' || c > '~'; }), name.end());
  return name.empty() ? "another process" : name;
}

void sign(int descriptor) {
  std::array<char, 256> machine{};
  if (::gethostname(machine.data(), machine.size() - 1) != 0) machine.front() = '\0';
  const auto text = fmt::format("process {} on {}\n", ::getpid(), machine.data());
  // Only for a message: without room for it the lock holds as well.
  if (::ftruncate(descriptor, 0) != 0) return;
  [[maybe_unused]] const auto written = ::pwrite(descriptor, text.data(), text.size(), 0);
}

// Whether `path` still leads to the file that is open. Its last owner removes it.
bool is_at(const fs::path& path, int descriptor) {
  struct stat open_file {
  }, file{};
  return ::fstat(descriptor, &open_file) == 0 && ::stat(path.c_str(), &file) == 0 &&
         open_file.st_dev == file.st_dev && open_file.st_ino == file.st_ino;
}

// 0, or why there is no lock.
int try_lock(int descriptor) {
  while (::flock(descriptor, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EINTR) return errno;
  }
  return 0;
}

}  // namespace

FolderLock::FolderLock(fs::path folder) : folder_(std::move(folder)), file_(folder_ / kLockFile) {
  std::error_code failed;
  made_folder_ = fs::create_directories(folder_, failed);
  if (failed) throw FileError(folder_, "cannot make the folder: " + failed.message());
  lock();
  sign(descriptor_);
}

void FolderLock::lock() {
  for (;;) {
    descriptor_ = ::open(file_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (descriptor_ < 0) {
      throw FileError(file_, "cannot open for writing: " + std::generic_category().message(errno));
    }
    const int error = try_lock(descriptor_);
    if (error == EWOULDBLOCK) {
      const auto text = fmt::format(
          "expected a folder that no other run trains into, got one that {} trains into",
          owner(descriptor_));
      ::close(descriptor_);
      throw FileError(folder_, text);
    }
    if (error != 0 || is_at(file_, descriptor_)) return;
    ::close(descriptor_);
  }
}

FolderLock::~FolderLock() {
  ::unlink(file_.c_str());  // before it is freed: nobody else's is removed
  ::close(descriptor_);
  if (made_folder_) ::rmdir(folder_.c_str());  // which a folder with anything in it survives
}

}  // namespace attend
