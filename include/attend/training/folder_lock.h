#pragma once

#include <filesystem>

#include "attend/toolkit_export.h"

namespace attend {

/// Keeps a folder to one run at a time: an advisory lock on a file in it, which is freed when the process ends,
/// however that happens. A folder that is missing is made, and removed in the end if nothing came into it.
///
/// Throws: FileError where another run has the folder, with the process and its machine, and where the folder cannot be
///         made or written to.
/// Note:   a file system without locks guards nothing.
class ATTEND_TOOLKIT_API FolderLock {
 public:
  explicit FolderLock(std::filesystem::path folder);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;
  FolderLock(FolderLock&&) = delete;
  FolderLock& operator=(FolderLock&&) = delete;

 private:
  void lock();

  std::filesystem::path folder_, file_;
  bool made_folder_ = false;
  int descriptor_ = -1;
};

}  // namespace attend
