#include "attend/data/token_file.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "attend/file_error.h"
#include "support/temporary_folder.h"
#include "support/tensor_assert.h"

namespace attend::token_file_test {
namespace {

using testing_support::TemporaryFolder;

// More than two blocks of pairs of 0 to 6 tokens.
std::vector<TokenPair> corpus() {
  std::vector<TokenPair> pairs;
  for (size_t i = 0; i < 2 * TokenFile::kBlockPairs + 300; ++i) {
    const auto id = static_cast<int64_t>(i);
    pairs.push_back(
        {std::vector<int64_t>(i % 7, id), std::vector<int64_t>(i * 5 % 6, 40'000 + id)});
  }
  return pairs;
}

TokenFile written(const std::filesystem::path& path, const std::vector<TokenPair>& pairs) {
  TokenFileWriter writer(path);
  for (const auto& pair : pairs) writer.add(pair);
  return writer.commit("a note");
}

void expect_same(const std::vector<TokenPair>& a, const std::vector<TokenPair>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    ASSERT_EQ(a[i].source, b[i].source) << i;
    ASSERT_EQ(a[i].target, b[i].target) << i;
  }
}

TEST(TokenFile, HoldsWhatWasWritten) {
  const TemporaryFolder folder;
  const auto pairs = corpus();
  const auto file = written(folder.path() / "tokens", pairs);
  EXPECT_EQ(file.size(), pairs.size());
  EXPECT_EQ(file.blocks(), 3U);
  EXPECT_EQ(file.note(), "a note");
  EXPECT_EQ(file.fingerprint(), fingerprint(pairs));
  expect_same(file.read({0, 1, 2}), pairs);
  // Opened again, some blocks in another order.
  const TokenFile again(folder.path() / "tokens");
  const auto block = static_cast<std::ptrdiff_t>(TokenFile::kBlockPairs);
  std::vector<TokenPair> expected(pairs.begin() + 2 * block, pairs.end());
  expected.insert(expected.end(), pairs.begin(), pairs.begin() + block);
  expect_same(again.read({2, 0}), expected);
  EXPECT_THROW_MESSAGE(again.read({3}), c10::IndexError,
                       "TokenFile: expected a block in [0, 3), got 3");
}

TEST(TokenFile, AnEmptyCorpusIsAFileToo) {
  const TemporaryFolder folder;
  const auto file = written(folder.path() / "tokens", {});
  EXPECT_EQ(file.size(), 0U);
  EXPECT_TRUE(file.read({}).empty());
}

TEST(TokenFile, WithoutACommitNothingIsThere) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "tokens";
  { TokenFileWriter(path).add({{1}, {2}}); }
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST(TokenFile, EveryCutIsNoticed) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "tokens";
  written(path, {{{1, 2, 3}, {4, 5}}, {{6}, {7, 8}}});
  const auto bytes = TemporaryFolder::read(path);
  for (size_t size = 0; size < bytes.size(); ++size) {
    const auto cut = folder.write("cut", bytes.substr(0, size));
    EXPECT_THROW(TokenFile{cut}, FileError) << size;
  }
  EXPECT_THROW(TokenFile(folder.path() / "none"), FileError);
}

// What the numbers say is checked before it is believed.
TEST(TokenFile, NoBrokenByteIsReadBeyondItsBounds) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "tokens";
  written(path, {{{1, 2, 3}, {4, 5}}, {{6}, {7, 8}}});
  const auto bytes = TemporaryFolder::read(path);
  for (size_t at = 0; at < bytes.size(); ++at) {
    auto broken = bytes;
    broken[at] = static_cast<char>(~broken[at]);
    const auto file = folder.write("broken", broken);
    try {
      TokenFile(file).read({0});
    } catch (const FileError& error) {
      EXPECT_TRUE(std::string(error.what()).starts_with(file.string())) << error.what();
    }
  }
}

TEST(TokenFile, ANumberOfPairsWithoutBlocksIsRefused) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "tokens";
  written(path, {});
  auto bytes = TemporaryFolder::read(path);
  bytes.replace(bytes.size() - 48, 8, std::string(8, '\xFF'));  // the footer's first number
  folder.write("tokens", bytes);
  EXPECT_THROW(TokenFile{path}, FileError);
}

TEST(TokenFile, IdsThatDoNotFitAreRefused) {
  const TemporaryFolder folder;
  TokenFileWriter writer(folder.path() / "tokens");
  EXPECT_THROW(writer.add({{int64_t{1} << 32}, {1}}), c10::ValueError);
  EXPECT_THROW(writer.add({{-1}, {1}}), c10::ValueError);
}

}  // namespace
}  // namespace attend::token_file_test
