#pragma once

#include <filesystem>
#include <string_view>

namespace attend::detail {

/// A file that is written atomically.
///
/// Bytes go to a temporary file in the same folder; `commit` syncs it to disk and renames it to
/// `path`. Without a commit the destructor removes it, and the file at `path` stays as it was.
/// The new file has the permissions of the one that it replaces. A symbolic link is followed.
///
/// Throws: FileError with the path and the system's reason.
class AtomicFile {
 public:
  explicit AtomicFile(const std::filesystem::path& path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(std::string_view bytes);
  void commit();

 private:
  [[noreturn]] void fail(const char* action) const;

  std::filesystem::path path_;
  std::filesystem::path temporary_;  // empty once it no longer exists
  int descriptor_ = -1;              // -1 once closed
};

/// Writes one file with an AtomicFile.
void write_file_atomically(const std::filesystem::path& path, std::string_view bytes);

/// Removes the temporary files that killed processes left in a folder. Only for the sole writer of
/// the folder: those of a running process look the same.
void remove_leftovers(const std::filesystem::path& folder);

}  // namespace attend::detail
