#include "attend/data/parallel_text.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "attend/checkpoint/file_error.h"
#include "support/temporary_folder.h"

namespace attend::parallel_text_test {
namespace {

TEST(ParallelText, LinesArePairedInOrder) {
  const testing_support::TemporaryFolder folder;
  const auto text = read_parallel(folder.write("en", "a cat\n\nthe mat\n"),
                                  folder.write("fr", "un chat\r\nvide\r\nle tapis"));
  ASSERT_EQ(text.size(), 3u);
  EXPECT_EQ(text.source, (std::vector<std::string>{"a cat", "", "the mat"}));
  EXPECT_EQ(text.target, (std::vector<std::string>{"un chat", "vide", "le tapis"}));
}

TEST(ParallelText, UnequalLineCountsAreRefusedWithBothCountsAndPaths) {
  const testing_support::TemporaryFolder folder;
  const auto source = folder.write("en", "a\nb\nc\n");
  const auto target = folder.write("fr", "x\ny\n");
  try {
    read_parallel(source, target);
    FAIL() << "expected a FileError";
  } catch (const FileError& e) {
    const std::string message = e.what();
    EXPECT_NE(message.find("expected 3 lines, as many as in " + source.string() + ", got 2"),
              std::string::npos)
        << message;
    EXPECT_NE(message.find(target.string()), std::string::npos) << message;
  }
}

TEST(ParallelText, TheFileThatCannotBeReadIsNamed) {
  const testing_support::TemporaryFolder folder;
  const auto source = folder.write("en", "a\n");
  EXPECT_THROW(read_parallel(source, folder.path() / "missing"), FileError);
  EXPECT_THROW(read_parallel(folder.path() / "missing", source), FileError);
}

}  // namespace
}  // namespace attend::parallel_text_test
