#include "attend/data/parallel_text.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "attend/file_error.h"
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

TEST(ParallelReader, GivesSomePairsAtATime) {
  const testing_support::TemporaryFolder folder;
  ParallelReader reader(folder.write("en", "1\n2\n3\n4\n5\n"),
                        folder.write("fr", "a\nb\nc\nd\ne\n"));
  EXPECT_EQ(reader.next(2).source, (std::vector<std::string>{"1", "2"}));
  EXPECT_EQ(reader.next(2).target, (std::vector<std::string>{"c", "d"}));
  EXPECT_EQ(reader.next(2).target, (std::vector<std::string>{"e"}));
  EXPECT_EQ(reader.next(2).size(), 0u);
}

TEST(SentenceSample, IsAllOrSpreadEvenly) {
  const testing_support::TemporaryFolder folder;
  std::string sources, targets;
  for (int i = 0; i < 10; ++i) {
    sources += "s" + std::to_string(i) + "\n";
    targets += "t" + std::to_string(i) + "\n";
  }
  const auto source = folder.write("en", sources), target = folder.write("fr", targets);
  const auto all = sample_parallel(source, target, 10);
  EXPECT_EQ(all.pairs, 10);
  EXPECT_EQ(all.sentences.size(), 20u);
  EXPECT_EQ(all.sentences[9], "s9");
  EXPECT_EQ(all.sentences[10], "t0");
  EXPECT_EQ(sample_parallel(source, target, 9).sentences,
            (std::vector<std::string>{"s0", "s2", "s4", "s6", "s8", "t0", "t2", "t4", "t6", "t8"}));
  EXPECT_EQ(sample_parallel(source, target, 3).sentences,
            (std::vector<std::string>{"s0", "s4", "s8", "t0", "t4", "t8"}));
  EXPECT_EQ(sample_parallel(source, target, 1).sentences, (std::vector<std::string>{"s0", "t0"}));
}

TEST(ParallelText, TheFileThatCannotBeReadIsNamed) {
  const testing_support::TemporaryFolder folder;
  const auto source = folder.write("en", "a\n");
  EXPECT_THROW(read_parallel(source, folder.path() / "missing"), FileError);
  EXPECT_THROW(read_parallel(folder.path() / "missing", source), FileError);
}

}  // namespace
}  // namespace attend::parallel_text_test
