#include "attend/training/folder_lock.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <string>

#include "attend/file_error.h"
#include "support/temporary_folder.h"

namespace attend::folder_lock_test {
namespace {

using testing_support::TemporaryFolder;

std::string refusal(const std::filesystem::path& folder) {
  try {
    const FolderLock lock(folder);
  } catch (const FileError& error) {
    return error.what();
  }
  return "";
}

TEST(FolderLock, ASecondOneIsRefusedWithTheProcessOfTheFirst) {
  const TemporaryFolder folder;
  {
    const FolderLock lock(folder.path());
    EXPECT_THAT(refusal(folder.path()),
                testing::StartsWith(folder.path().string() +
                                    ": expected a folder that no other run trains into, got one "
                                    "that process " +
                                    std::to_string(::getpid()) + " on "));
    EXPECT_NE(refusal(folder.path()), "") << "the one that was refused freed it";
  }
  EXPECT_EQ(refusal(folder.path()), "");
}

TEST(FolderLock, LeavesNothingBehind) {
  const TemporaryFolder folder;
  const auto made = folder.path() / "made";
  { const FolderLock lock(made); }
  EXPECT_FALSE(std::filesystem::exists(made));
  {
    const FolderLock lock(made);
    folder.write("made/file", "text");
  }
  EXPECT_TRUE(std::filesystem::exists(made / "file"));
  std::filesystem::remove(made / "file");
  { const FolderLock lock(made); }
  EXPECT_TRUE(std::filesystem::is_empty(made)) << "a folder that was there stays";
}

TEST(FolderLock, IsFreedWhenItsProcessIsKilled) {
  const TemporaryFolder folder;
  int ready[2] = {};
  ASSERT_EQ(::pipe(ready), 0);
  const auto child = ::fork();
  if (child == 0) {
    const FolderLock lock(folder.path());
    [[maybe_unused]] const auto told = ::write(ready[1], "x", 1);
    for (;;) ::pause();
  }
  char byte = 0;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  EXPECT_THAT(refusal(folder.path()), testing::HasSubstr("process " + std::to_string(child)));
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  EXPECT_EQ(refusal(folder.path()), "");
  ::close(ready[0]);
  ::close(ready[1]);
}

TEST(FolderLock, WhatIsNoFolderIsNamed) {
  const TemporaryFolder folder;
  folder.write("file", "text");
  EXPECT_THAT(
      refusal(folder.path() / "file"),
      testing::StartsWith((folder.path() / "file").string() + ": cannot make the folder: "));
  EXPECT_EQ(TemporaryFolder::read(folder.path() / "file"), "text");
}

}  // namespace
}  // namespace attend::folder_lock_test
