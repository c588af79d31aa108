#include "detail/atomic_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <torch/torch.h>

#include <filesystem>
#include <iterator>
#include <string>

#include "attend/file_error.h"
#include "support/temporary_folder.h"

namespace attend::atomic_file_test {
namespace {

using detail::write_file_atomically;
using testing_support::TemporaryFolder;
namespace fs = std::filesystem;

class AtomicFile : public ::testing::Test {
 protected:
  static std::string content(const fs::path& path) { return TemporaryFolder::read(path); }
  int64_t file_count() const {
    return std::distance(fs::directory_iterator(folder_.path()), fs::directory_iterator());
  }
  static std::string refusal(const fs::path& path) {
    try {
      write_file_atomically(path, "new");
    } catch (const FileError& error) {
      return error.what();
    }
    return "accepted";
  }

  const TemporaryFolder folder_;
  const fs::path path_ = folder_.path() / "file.txt";
};

TEST_F(AtomicFile, WritesAndReplacesAFile) {
  write_file_atomically(path_, std::string_view("a\0b\n", 4));
  EXPECT_EQ(content(path_), std::string("a\0b\n", 4));
  write_file_atomically(path_, "");
  EXPECT_EQ(content(path_), "");
  EXPECT_EQ(file_count(), 1);
}

TEST_F(AtomicFile, NothingShowsBeforeTheCommit) {
  write_file_atomically(path_, "old");
  detail::AtomicFile file(path_);
  file.write("ne");
  file.write("w");
  EXPECT_EQ(content(path_), "old");
  file.commit();
  EXPECT_EQ(content(path_), "new");
  EXPECT_EQ(file_count(), 1);
}

TEST_F(AtomicFile, WithoutACommitNothingIsLeft) {
  {
    detail::AtomicFile file(path_);
    file.write("new");
    EXPECT_EQ(file_count(), 1);
  }
  EXPECT_EQ(file_count(), 0);
}

TEST_F(AtomicFile, TwoWritersOfOneFileDoNotMix) {
  detail::AtomicFile first(path_);
  detail::AtomicFile second(path_);
  first.write("first");
  second.write("second");
  second.commit();
  first.commit();
  EXPECT_EQ(content(path_), "first");
  EXPECT_EQ(file_count(), 1);
}

TEST_F(AtomicFile, WritingAfterTheCommitIsAnError) {
  detail::AtomicFile file(path_);
  file.commit();
  EXPECT_THROW(file.write("late"), c10::Error);
  EXPECT_THROW(file.commit(), c10::Error);
}

TEST_F(AtomicFile, KeepsThePermissionsOfTheFileThatItReplaces) {
  write_file_atomically(path_, "old");
  fs::permissions(path_, fs::perms(0640));
  write_file_atomically(path_, "new");
  EXPECT_EQ(fs::status(path_).permissions(), fs::perms(0640));
}

TEST_F(AtomicFile, NewFilesFollowTheUmask) {
  const auto mask = ::umask(0027);
  write_file_atomically(path_, "new");
  ::umask(mask);
  EXPECT_EQ(fs::status(path_).permissions(), fs::perms(0640));
}

TEST_F(AtomicFile, FollowsASymbolicLink) {
  write_file_atomically(path_, "old");
  fs::create_symlink("file.txt", folder_.path() / "link");
  write_file_atomically(folder_.path() / "link", "new");
  EXPECT_TRUE(fs::is_symlink(folder_.path() / "link"));
  EXPECT_EQ(content(path_), "new");
}

TEST_F(AtomicFile, ABareNameIsWrittenToTheCurrentFolder) {
  const auto before = fs::current_path();
  fs::current_path(folder_.path());
  write_file_atomically("file.txt", "new");
  fs::current_path(before);
  EXPECT_EQ(content(path_), "new");
}

TEST_F(AtomicFile, LeftoversOfKilledProcessesCanBeRemoved) {
  write_file_atomically(path_, "kept");
  write_file_atomically(folder_.path() / ".attend-0123456789abcdef.tmp", "left over");
  write_file_atomically(folder_.path() / ".attend-notes", "kept");
  EXPECT_EQ(file_count(), 3);
  detail::remove_leftovers(folder_.path());
  EXPECT_EQ(file_count(), 2);
  EXPECT_EQ(content(path_), "kept");
  detail::remove_leftovers(folder_.path() / "missing");  // nothing to remove is no error
}

TEST_F(AtomicFile, TargetsThatAreNoFilesAreRefused) {
  EXPECT_EQ(refusal(folder_.path()),
            folder_.path().string() + ": expected a regular file to replace, got a folder");
  EXPECT_EQ(refusal("/dev/null"),
            "/dev/null: expected a regular file to replace, got a special file");
  EXPECT_EQ(refusal(folder_.path() / "missing" / "file"),
            (folder_.path() / "missing" / "file").string() +
                ": cannot create a file beside it: No such file or directory");
  EXPECT_EQ(file_count(), 0);
}

}  // namespace
}  // namespace attend::atomic_file_test
