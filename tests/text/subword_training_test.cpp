#include "attend/text/subword_training.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "support/temporary_folder.h"

namespace attend::subword_training_test {
namespace {

using testing_support::TemporaryFolder;
using Sentences = std::vector<std::string>;

// 12 characters besides the space mark.
const Sentences& corpus() {
  static const Sentences sentences{"the cat sees the mat", "the mat is red", "cats see mats",
                                   "the red cat is there", "the rest is rest"};
  return sentences;
}

SubwordTrainingOptions options(int64_t vocab_size) {
  SubwordTrainingOptions result;
  result.vocab_size = vocab_size;
  return result;
}

std::string error_of(const Sentences& sentences, const SubwordTrainingOptions& wanted) {
  try {
    train_subwords(sentences, wanted);
  } catch (const c10::ValueError& e) {
    return e.what_without_backtrace();
  }
  return {};
}

std::string model_bytes(const SubwordTokenizer& tokenizer, const TemporaryFolder& folder) {
  tokenizer.save(folder.path());
  return TemporaryFolder::read(folder.path() / "source.spm");
}

class SubwordTrainingTest : public testing::TestWithParam<SubwordModel> {
 protected:
  static SubwordTrainingOptions options(int64_t vocab_size) {
    auto result = subword_training_test::options(vocab_size);
    result.model = GetParam();
    return result;
  }
};

TEST_P(SubwordTrainingTest, TheVocabularyHasTheSizeAskedFor) {
  EXPECT_EQ(train_subwords(corpus(), options(18)).vocab_size(), 18);
}

TEST_P(SubwordTrainingTest, EveryCharacterOfTheTextIsCovered) {
  const auto tokenizer = train_subwords(corpus(), options(18));
  for (const auto& text : corpus()) {
    const auto ids = tokenizer.encode_source(text);
    EXPECT_EQ(std::count(ids.begin(), ids.end(), tokenizer.unk_id()), 0) << text;
    EXPECT_EQ(tokenizer.decode_target(ids), text);
  }
}

TEST_P(SubwordTrainingTest, TrainingTwiceGivesTheSameBytes) {
  const TemporaryFolder folder;
  const auto first = model_bytes(train_subwords(corpus(), options(18)), folder);
  EXPECT_EQ(model_bytes(train_subwords(corpus(), options(18)), folder), first);
}

TEST_P(SubwordTrainingTest, AVocabularyThatTheTextDoesNotSupportShrinks) {
  const auto tokenizer = train_subwords(corpus(), options(5000));
  EXPECT_LT(tokenizer.vocab_size(), 200);
  EXPECT_EQ(tokenizer.pad_id(), tokenizer.vocab_size() - 1);
  EXPECT_EQ(tokenizer.decode_target(tokenizer.encode_target(corpus()[0])), corpus()[0]);
}

TEST_P(SubwordTrainingTest, WithoutShrinkingTheErrorNamesASizeThatWorks) {
  auto wanted = options(5000);
  const auto largest = train_subwords(corpus(), wanted).vocab_size();
  wanted.shrink_to_fit = false;
  EXPECT_EQ(error_of(corpus(), wanted),
            "train_subwords: expected vocab_size <= " + std::to_string(largest) +
                ", the largest that the text supports, got 5000");
  wanted.vocab_size = largest;
  EXPECT_EQ(train_subwords(corpus(), wanted).vocab_size(), largest);
}

TEST_P(SubwordTrainingTest, AVocabularySmallerThanTheCharactersNeedIsRefusedWithBothSizes) {
  std::set<char> characters;
  for (const auto& text : corpus()) characters.insert(text.begin(), text.end());
  const auto needed = static_cast<int64_t>(characters.size()) + 3;  // </s>, <unk>, <pad>
  EXPECT_EQ(error_of(corpus(), options(needed - 1)),
            "train_subwords: expected vocab_size >= " + std::to_string(needed) + ", which the " +
                std::to_string(characters.size()) +
                " characters of the text need (character_coverage 1), got " +
                std::to_string(needed - 1));
  EXPECT_EQ(train_subwords(corpus(), options(needed)).vocab_size(), needed);
}

TEST_P(SubwordTrainingTest, SentencesWithoutTextAreRefused) {
  const std::string expected =
      "train_subwords: expected sentences with text of at most 4192 bytes, got ";
  EXPECT_TRUE(error_of({}, options(100)).starts_with(expected + "0 sentences"));
  // SentencePiece itself ends the process for some of these.
  EXPECT_TRUE(error_of({""}, options(100)).starts_with(expected));
  EXPECT_TRUE(
      error_of({" ", "\t", "\x01", "\u200B", "\u2581"}, options(100)).starts_with(expected));
  EXPECT_TRUE(error_of({std::string(5000, 'x')}, options(100)).starts_with(expected));
}

TEST_P(SubwordTrainingTest, OddSentencesDoNotDisturbTheOthers) {
  auto sentences = corpus();
  for (const auto& odd :
       Sentences{"", "  ", "\x01", "</s>", "<unk>", "\u2585", std::string(3, '\0'),
                 std::string(9000, 'q'), "tab\there", "\u2581\u2581"}) {
    sentences.insert(sentences.begin() + 1, odd);
  }
  const auto tokenizer = train_subwords(sentences, options(40));
  EXPECT_EQ(tokenizer.decode_target(tokenizer.encode_target(corpus()[0])), corpus()[0]);
  EXPECT_FALSE(tokenizer.source_vocabulary().contains("q"));  // its sentence is too long
}

INSTANTIATE_TEST_SUITE_P(Models, SubwordTrainingTest,
                         testing::Values(SubwordModel::kUnigram, SubwordModel::kBpe),
                         [](const auto& param_info) {
                           return param_info.param == SubwordModel::kBpe ? "Bpe" : "Unigram";
                         });

TEST(SubwordTraining, RareCharactersAreLeftOutOnRequest) {
  Sentences sentences(100, "the cat sees the mat");
  sentences.push_back("z");
  auto wanted = options(40);
  EXPECT_TRUE(train_subwords(sentences, wanted).source_vocabulary().contains("z"));
  wanted.character_coverage = 0.999;
  EXPECT_FALSE(train_subwords(sentences, wanted).source_vocabulary().contains("z"));
}

TEST(SubwordTraining, LettersAndMarksShareAPieceOnlyOnRequest) {
  const Sentences tokenized{"l&apos; eau d&apos; un lac", "d&apos; eau et l&apos; air",
                            "un an d&apos; eau"};
  auto wanted = options(40);
  wanted.model = SubwordModel::kBpe;
  const auto mixes = [&] {
    const auto tokenizer = train_subwords(tokenized, wanted);
    EXPECT_EQ(tokenizer.decode_target(tokenizer.encode_target(tokenized[0])), tokenized[0]);
    return tokenizer.source_vocabulary().contains("▁d&apos;");
  };
  EXPECT_FALSE(mixes());
  wanted.split_by_unicode_script = false;
  EXPECT_TRUE(mixes());
}

TEST(SubwordTraining, NormalizationIsChosen) {
  auto wanted = options(5000);
  EXPECT_EQ(train_subwords(corpus(), wanted).normalize_source("ＣＡＴ"), "CAT");
  wanted.normalization = Normalization::kNmtNfkcCaseFold;
  EXPECT_EQ(train_subwords(corpus(), wanted).normalize_source("ＣＡＴ"), "cat");
  wanted.normalization = Normalization::kIdentity;
  EXPECT_EQ(train_subwords(corpus(), wanted).normalize_source("ＣＡＴ"), "ＣＡＴ");
}

TEST(SubwordTraining, TheTokenizersOptionsAreSaved) {
  const TemporaryFolder folder;
  auto wanted = options(30);
  wanted.tokenizer = {.source_language = "en", .target_language = "fr", .model_max_length = 77};
  train_subwords(corpus(), wanted).save(folder.path());
  const auto config = TemporaryFolder::read(folder.path() / "tokenizer_config.json");
  for (const auto* line :
       {"\"source_lang\": \"en\"", "\"target_lang\": \"fr\"", "\"model_max_length\": 77",
        "\"tokenizer_class\": \"MarianTokenizer\""}) {
    EXPECT_NE(config.find(line), std::string::npos) << config;
  }
}

// As many characters as SentencePiece's BPE trainer can count.
constexpr size_t kLongestWord = 32768;

std::string letters(size_t count) {
  std::string word;
  for (size_t i = 0; i < count; ++i) word += static_cast<char>('a' + (i * i + i / 7) % 20);
  return word;
}

SubwordTrainingOptions bpe_of_long_sentences() {
  auto wanted = options(60);
  wanted.model = SubwordModel::kBpe;
  wanted.max_sentence_length = int64_t{1} << 20;
  return wanted;
}

TEST(SubwordTraining, AWordTooLongForBpeIsNamedByItsSentence) {
  const auto wanted = bpe_of_long_sentences();
  const auto error = [&](const std::string& sentence) {
    auto sentences = corpus();
    sentences.push_back(sentence);
    return error_of(sentences, wanted);
  };
  const std::string expected =
      "train_subwords: expected words of at most 32768 characters for BPE, got one of ";
  EXPECT_EQ(error(letters(kLongestWord)), "");
  EXPECT_EQ(error(letters(kLongestWord + 1)), expected + "32769 in sentences[5]");
  EXPECT_EQ(error("the " + letters(40000) + " cat"), expected + "40000 in sentences[5]");
  EXPECT_EQ(error(letters(30000) + " " + letters(30000)), "");  // two words
  // Characters count as they are normalised: U+3316 is six of them.
  std::string units;
  for (int i = 0; i < 5462; ++i) units += "\u3316";
  EXPECT_EQ(error(units), expected + "32772 in sentences[5]");
  // What is not trained on does no harm.
  auto short_ones = wanted;
  short_ones.max_sentence_length = 1000;
  EXPECT_EQ(error_of({"the cat", letters(40000)}, short_ones), "");
}

TEST(SubwordTraining, AWordOfAnyLengthIsTrainedOnByUnigram) {
  auto wanted = bpe_of_long_sentences();
  wanted.model = SubwordModel::kUnigram;
  EXPECT_EQ(error_of({"the cat", letters(40000)}, wanted), "");
}

TEST(SubwordTraining, OptionsOutOfRangeAreRefused) {
  auto wanted = options(0);
  EXPECT_EQ(error_of(corpus(), wanted), "train_subwords: expected vocab_size > 0, got 0");
  // From 2^31 / 1.1 on SentencePiece's sizes turn negative, and it goes on without end.
  EXPECT_EQ(error_of(corpus(), options(2'000'000'000)),
            "train_subwords: expected vocab_size <= 10000000, got 2000000000");
  wanted = options(30);
  wanted.character_coverage = 0.5;
  EXPECT_EQ(error_of(corpus(), wanted),
            "train_subwords: expected character_coverage in [0.98, 1], got 0.5");
  wanted = options(30);
  wanted.max_sentence_length = 0;
  EXPECT_EQ(error_of(corpus(), wanted),
            "train_subwords: expected max_sentence_length in [10, 2^30], got 0");
  EXPECT_EQ(error_of({"fine", "\xFF"}, options(30)),
            "train_subwords: expected UTF-8, got other bytes in sentences[1]");
}

}  // namespace
}  // namespace attend::subword_training_test
