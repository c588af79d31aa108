#include "attend/data/encode_corpus.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "attend/file_error.h"
#include "attend/text/subword_training.h"
#include "support/temporary_folder.h"
#include "support/tensor_assert.h"

namespace attend::encode_corpus_test {
namespace {

using testing_support::TemporaryFolder;

SubwordTokenizer tokenizer() {
  return train_subwords({"a b c d e f g h", "h g f e d c b a", "a a b b c c"}, {.vocab_size = 20});
}

// n letters, each a word of one token at least.
std::string letters(int n) {
  std::string text;
  for (int i = 0; i < n; ++i)
    text += std::string(i == 0 ? "" : " ") + static_cast<char>('a' + i % 8);
  return text;
}

TEST(PairFilter, SaysWhatIsLeftOutAndCountsIt) {
  const auto pair = [](size_t source, size_t target) {  // tokens besides </s>
    return TokenPair{std::vector<int64_t>(source + 1, 3), std::vector<int64_t>(target + 1, 3)};
  };
  const PairFilter filter{.max_length = 10, .max_ratio = 3};
  FilterCounts counts;
  EXPECT_TRUE(keep_pair(pair(10, 10), filter, counts));
  EXPECT_TRUE(keep_pair(pair(3, 9), filter, counts));
  EXPECT_FALSE(keep_pair(pair(0, 2), filter, counts));
  EXPECT_FALSE(keep_pair(pair(11, 10), filter, counts));
  EXPECT_FALSE(keep_pair(pair(4, 11), filter, counts));
  EXPECT_FALSE(keep_pair(pair(10, 3), filter, counts));
  EXPECT_EQ(counts.kept, 2);
  EXPECT_EQ(
      counts.left_out_text(filter),
      "left out 4 of 6 training pairs: 1 with an empty side, 2 of more than 10 tokens, 1 with "
      "sides of more than 3 to 1");
  EXPECT_EQ(FilterCounts{.kept = 3}.left_out_text(filter), "");
  EXPECT_TRUE(keep_pair(pair(1, 10), {.max_length = 10, .max_ratio = 0}, counts));
}

TEST(PairFilter, ValuesOutOfRangeAreRefused) {
  EXPECT_THROW_MESSAGE(PairFilter{.max_length = 0}.validate(), c10::ValueError,
                       "PairFilter: expected max_length > 0, got 0");
  EXPECT_THROW_MESSAGE(PairFilter{.max_ratio = 0.5}.validate(), c10::ValueError,
                       "PairFilter: expected max_ratio >= 1, or 0 for any, got 0.5");
}

TEST(EncodeCorpus, TheFileHoldsWhatTheTextsSay) {
  const TemporaryFolder folder;
  const auto words = tokenizer();
  ParallelText text;
  std::string sources, targets;
  for (int i = 0; i < 9000; ++i) {  // more than is read at a time
    text.source.push_back(letters(1 + i % 7));
    text.target.push_back(i % 100 == 0 ? "" : letters(1 + i % 5));
    sources += text.source.back() + "\n";
    targets += text.target.back() + "\n";
  }
  FilterCounts counts;
  const auto expected = encode_pairs(text, words, {}, counts);
  EXPECT_EQ(counts.empty, 90);
  int64_t told = 0;
  const auto corpus = encode_corpus(folder.write("en", sources), folder.write("fr", targets), words,
                                    folder.path() / "tokens", {},
                                    [&](int64_t pairs) { return (told = pairs) > 0; });
  EXPECT_EQ(told, 9000);
  EXPECT_EQ(corpus.file.size(), expected.size());
  EXPECT_EQ(corpus.file.fingerprint(), fingerprint(expected));
  EXPECT_EQ(corpus.counts.kept, counts.kept);
  EXPECT_EQ(corpus.counts.empty, counts.empty);
}

TEST(EncodeCorpus, TheSameTextsAreNotEncodedAgain) {
  const TemporaryFolder folder;
  const auto words = tokenizer();
  const auto source = folder.write("en", "a b\nc d\n"), target = folder.write("fr", "b\n\n");
  int encoded = 0;
  const auto encode = [&](const PairFilter& filter = {}) {
    return encode_corpus(source, target, words, folder.path() / "tokens", filter,
                         [&](int64_t) { return ++encoded > 0; });
  };
  const auto first = encode();
  const auto again = encode();
  EXPECT_EQ(encoded, 1);
  EXPECT_EQ(again.file.fingerprint(), first.file.fingerprint());
  EXPECT_EQ(again.counts.empty, 1);
  encode({.max_length = 7});  // another filter
  EXPECT_EQ(encoded, 2);
  folder.write("fr", "b\nb b\n");  // another text
  EXPECT_EQ(encode({.max_length = 7}).file.size(), 2U);
  EXPECT_EQ(encoded, 3);
  folder.write("tokens", "no token file");
  EXPECT_EQ(encode({.max_length = 7}).file.size(), 2U);
}

TEST(EncodeCorpus, PipesAreReadOnceAndAnewEachTime) {
  const TemporaryFolder folder;
  const auto words = tokenizer();
  const auto source = folder.path() / "pipe", target = folder.write("fr", "b\n\n");
  ASSERT_EQ(::mkfifo(source.c_str(), 0600), 0);
  uint64_t before = 0;
  for (const auto* text : {"a b\nc d\n", "d c\nb a\n"}) {
    std::thread writer([&] { std::ofstream(source) << text; });
    const auto corpus = encode_corpus(source, target, words, folder.path() / "tokens");
    writer.join();
    EXPECT_EQ(corpus.file.size(), 1U);
    EXPECT_NE(corpus.file.fingerprint(), before);
    before = corpus.file.fingerprint();
  }
}

TEST(EncodeCorpus, WhatFailsOrIsStoppedLeavesNoFile) {
  const TemporaryFolder folder;
  const auto words = tokenizer();
  const auto source = folder.write("en", "a b\nc d\n"), target = folder.write("fr", "b\n");
  const auto path = folder.path() / "tokens";
  EXPECT_THROW(encode_corpus(source, target, words, path), FileError);
  EXPECT_THROW_MESSAGE(
      encode_corpus(source, source, words, path, {}, [](int64_t) { return false; }), c10::Error,
      "encode_corpus: stopped after 2 pairs");
  EXPECT_FALSE(std::filesystem::exists(path));
}

}  // namespace
}  // namespace attend::encode_corpus_test
