#pragma once

// For programs that write into the folder of a run.

#include <filesystem>

#include "attend/toolkit_export.h"

namespace attend {

/// Keeps a folder to one run at a time: an advisory lock on a file in it, which the kernel frees
/// when the process ends. A missing folder is made, and removed again at the end if it stayed
/// empty.
///
/// Throws: FileError where another run has the folder, naming its process and machine, and where
///         the folder cannot be made or written to.
/// Note:   on a file system without locks it has no effect.
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
