#include "attend/text/subword_tokenizer.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <torch/torch.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "attend/file_error.h"
#include "attend/text/subword_training.h"
#include "support/temporary_folder.h"
#include "text/word_indices.h"

namespace attend::subword_tokenizer_test {
namespace {

using std::string_literals::operator""s;
using detail::word_indices;
using testing_support::TemporaryFolder;
using Ids = std::vector<int64_t>;

const std::vector<std::string>& corpus() {
  static const std::vector<std::string> sentences{
      "The cat sits on the mat.",
      "Le chat est assis sur le tapis.",
      "Two young men are outside near many bushes.",
      "Deux jeunes hommes sont dehors près de buissons.",
      "A little girl climbs into a wooden playhouse.",
      "Une petite fille grimpe dans une maisonnette en bois.",
      "Several men in hard hats are operating a giant pulley system.",
      "Plusieurs hommes en casque font marcher un système de poulies géant.",
  };
  return sentences;
}

SubwordTokenizer make_tokenizer(int64_t vocab_size = 120) {
  SubwordTrainingOptions options;
  options.vocab_size = vocab_size;
  return train_subwords(corpus(), options);
}

std::string cut(const std::vector<Subword>& subwords) {
  std::ostringstream out;
  for (const auto& s : subwords) out << s.piece << ":" << s.word << " ";
  return out.str();
}

std::vector<std::string> split(const std::string& text) {
  std::istringstream in(text);
  std::vector<std::string> words;
  for (std::string word; in >> word;) words.push_back(word);
  return words;
}

std::string load_error(const std::filesystem::path& folder) {
  try {
    SubwordTokenizer::load(folder);
  } catch (const FileError& e) {
    return e.what();
  }
  return {};
}

// What people and programs put into text files.
std::vector<std::string> odd_texts() {
  return {"",
          " ",
          " \t ",
          "  two   spaces  ",
          "tab\there",
          "no\u00A0break",
          "\u2581",
          "a\u2581b",
          "\u2581 x \u2581\u2581 y",
          "ﬁne Ａ ½",
          "日本語 and 日本",
          "👍🏽 ok",
          ">>fra<< The cat",
          ">> <<",
          ">>",
          "</s> <unk> <pad>",
          "\x01\x02 control \x7F",
          "zero\u200Bwidth",
          "e\u0301",
          "null\0byte"s,
          "broken \xFF\xC3( utf-8 \xE2\x82",
          "\uFFFD",
          std::string(100'000, 'x'),
          std::string(100'000, ' '),
          "\r\n"};
}

TEST(SubwordTokenizer, EveryEncodedTextEndsWithTheEndToken) {
  const auto tokenizer = make_tokenizer();
  EXPECT_EQ(tokenizer.encode_source(""), Ids{tokenizer.eos_id()});
  EXPECT_EQ(tokenizer.encode_target("   "), Ids{tokenizer.eos_id()});
  const auto ids = tokenizer.encode_source("The cat");
  EXPECT_GT(ids.size(), 2u);
  EXPECT_EQ(ids.back(), tokenizer.eos_id());
}

TEST(SubwordTokenizer, TheIdsAreMarians) {
  const auto tokenizer = make_tokenizer();
  EXPECT_EQ(tokenizer.eos_id(), 0);
  EXPECT_EQ(tokenizer.unk_id(), 1);
  EXPECT_EQ(tokenizer.pad_id(), tokenizer.vocab_size() - 1);
  EXPECT_EQ(tokenizer.source_vocabulary().piece(tokenizer.pad_id()), "<pad>");
  EXPECT_FALSE(tokenizer.separate_vocabs());
}

TEST(SubwordTokenizer, DecodingGivesBackTheNormalisedText) {
  const auto tokenizer = make_tokenizer();
  for (const auto& text : corpus()) {
    EXPECT_EQ(tokenizer.decode_target(tokenizer.encode_target(text)), text);
    EXPECT_EQ(tokenizer.normalize_target(text), text);
  }
  EXPECT_EQ(tokenizer.normalize_source("  The \t cat\u00A0sits\u3000on \n"), "The cat sits on");
  EXPECT_EQ(tokenizer.normalize_source("ﬁlle \u2581 ＣＡＴ e\u0301"), "fille CAT é");
}

TEST(SubwordTokenizer, NoTextCrashesItAndNormalisingTwiceChangesNothing) {
  const auto tokenizer = make_tokenizer();
  for (const auto& text : odd_texts()) {
    const auto ids = tokenizer.encode_target(text);
    const auto normal = tokenizer.normalize_target(text);
    const bool is_utf8 = text.find('\xFF') == std::string::npos;
    if (is_utf8) {
      EXPECT_EQ(tokenizer.normalize_target(normal), normal) << text.substr(0, 50);
    }
    if (std::find(ids.begin(), ids.end(), tokenizer.unk_id()) == ids.end()) {
      EXPECT_EQ(tokenizer.decode_target(ids), normal) << text.substr(0, 50);
    }
    EXPECT_EQ(tokenizer.encode_source(text), ids) << text.substr(0, 50);  // one joint model
  }
}

TEST(SubwordTokenizer, UnknownCharactersBecomeTheUnknownTokenAndAreLeftOutOfTheText) {
  const auto tokenizer = make_tokenizer();
  const auto ids = tokenizer.encode_target("cat 日本 mat");
  EXPECT_EQ(std::count(ids.begin(), ids.end(), tokenizer.unk_id()), 1);
  EXPECT_EQ(tokenizer.decode_target(ids), "cat  mat");  // as transformers does
}

TEST(SubwordTokenizer, TextNeverMakesASpecialToken) {
  const auto tokenizer = make_tokenizer();
  for (const auto* text : {"</s>", "a </s> b", "<pad>"}) {
    const auto ids = tokenizer.encode_source(text);
    EXPECT_EQ(std::count(ids.begin(), ids.end(), tokenizer.eos_id()), 1) << text;
    EXPECT_EQ(std::count(ids.begin(), ids.end(), tokenizer.pad_id()), 0) << text;
  }
}

TEST(SubwordTokenizer, SpecialTokensAreLeftOutOfDecodedText) {
  const auto tokenizer = make_tokenizer();
  auto ids = tokenizer.encode_target("le tapis");
  ids.insert(ids.begin(), tokenizer.pad_id());
  ids.push_back(tokenizer.pad_id());
  EXPECT_EQ(tokenizer.decode_target(ids), "le tapis");
  EXPECT_EQ(tokenizer.decode_target({}), "");
}

TEST(SubwordTokenizer, AnIdOutsideTheVocabularyIsRefused) {
  const auto tokenizer = make_tokenizer();
  EXPECT_THROW(tokenizer.decode_target({tokenizer.vocab_size()}), c10::ValueError);
  EXPECT_THROW(tokenizer.decode_target({-1}), c10::ValueError);
  EXPECT_THROW(tokenizer.decoded_subwords({1'000'000}), c10::ValueError);
}

TEST(SubwordTokenizer, SubwordsHaveTheIdsOfTheTextAndItsWords) {
  const auto tokenizer = make_tokenizer();
  for (const auto& text : odd_texts()) {
    const auto subwords = tokenizer.source_subwords(text);
    const auto words = static_cast<int64_t>(split(text).size());
    Ids ids;
    int64_t word = 0;
    for (const auto& s : subwords) {
      ids.push_back(s.id);
      if (s.id == tokenizer.eos_id()) {
        EXPECT_EQ(s.word, -1);
        continue;
      }
      EXPECT_GE(s.word, word) << text.substr(0, 50);  // in order
      EXPECT_LT(s.word, words) << text.substr(0, 50);
      word = s.word;
    }
    EXPECT_EQ(ids, tokenizer.encode_source(text)) << text.substr(0, 50);
  }
}

TEST(SubwordTokenizer, WordsAreThoseOfTheTextAsItWasWritten) {
  const auto tokenizer = make_tokenizer();
  // The no-break space is a space to the model and part of a word to whoever cut the text.
  const auto subwords = tokenizer.source_subwords("  10\u00A0men \t日本  mat");
  int64_t last_word = -1;
  std::vector<std::string> words(3);
  for (const auto& s : subwords) {
    if (s.word < 0) continue;
    words.at(static_cast<size_t>(s.word)) += s.piece;
    last_word = s.word;
  }
  EXPECT_EQ(words, (std::vector<std::string>{"▁10▁men", "▁日本", "▁mat"})) << cut(subwords);
  EXPECT_EQ(last_word, 2);
}

TEST(SubwordTokenizer, DecodedSubwordsCountTheWordsOfTheDecodedText) {
  const auto tokenizer = make_tokenizer();
  const auto size = tokenizer.vocab_size();
  for (int64_t start = 0; start < size; ++start) {  // id sequences in no sensible order
    Ids ids;
    for (int64_t i = 0; i < 12; ++i) ids.push_back((start + i * i * 7) % size);
    const auto subwords = tokenizer.decoded_subwords(ids);
    ASSERT_EQ(subwords.size(), ids.size());
    const auto words = split(tokenizer.decode_target(ids));
    std::vector<std::string> joined(words.size());
    for (const auto& s : subwords) {
      if (s.word < 0) continue;
      ASSERT_LT(s.word, static_cast<int64_t>(words.size())) << cut(subwords);
      auto piece = s.piece;
      if (piece.starts_with("▁")) piece.erase(0, std::string("▁").size());
      joined[static_cast<size_t>(s.word)] += piece;
    }
    EXPECT_EQ(joined, words) << cut(subwords);
  }
}

TEST(WordIndices, ASpaceMarkBeginsAWord) {
  EXPECT_EQ(word_indices({"▁The", "▁c", "at", "▁sits", ".", "</s>"}), (Ids{0, 1, 1, 2, 2, -1}));
  EXPECT_EQ(word_indices({}), Ids{});
}

TEST(WordIndices, ALoneSpaceMarkBelongsToTheWordAfterIt) {
  EXPECT_EQ(word_indices({"▁", "chat", "▁", "▁noir"}), (Ids{0, 0, 1, 1}));
  EXPECT_EQ(word_indices({"▁chat", "▁", "</s>"}), (Ids{0, 0, -1}));  // no word follows
  EXPECT_EQ(word_indices({"▁"}), Ids{-1});
}

TEST(WordIndices, SpecialTokensLeaveNoTextAndNoWord) {
  EXPECT_EQ(word_indices({"<pad>", "▁a", "<unk>", "b", "▁", "<unk>", "▁c", "</s>"}),
            (Ids{-1, 0, -1, 0, 1, -1, 1, -1}));
}

TEST(WordIndices, TheTextMayBeginInsideAWordAndAPieceMayHoldTwo) {
  EXPECT_EQ(word_indices({"at", "▁of▁the", "▁mat"}), (Ids{0, 1, 3}));
}

TEST(SubwordTokenizer, ALoadedFolderEncodesAsTheSavedOneAndIsSavedByteForByte) {
  const TemporaryFolder folder;
  const auto tokenizer = make_tokenizer();
  tokenizer.save(folder.path() / "a/b");
  const auto loaded = SubwordTokenizer::load(folder.path() / "a/b");
  loaded.save(folder.path() / "c");
  size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path() / "a/b")) {
    ++files;
    EXPECT_EQ(TemporaryFolder::read(entry.path()),
              TemporaryFolder::read(folder.path() / "c" / entry.path().filename()));
  }
  EXPECT_EQ(files, 4u);
  EXPECT_EQ(loaded.vocab_size(), tokenizer.vocab_size());
  for (const auto& text : corpus()) {
    EXPECT_EQ(loaded.encode_source(text), tokenizer.encode_source(text));
    EXPECT_EQ(loaded.decode_target(loaded.encode_target(text)), text);
  }
}

TEST(SubwordTokenizer, TheVocabularyFileGivesTheIds) {
  const TemporaryFolder folder;
  make_tokenizer().save(folder.path());
  folder.write("vocab.json", R"({"<pad>": 5, "</s>": 7, "<unk>": 0, "▁the": 3, ">>fra<<": 4})");
  const auto tokenizer = SubwordTokenizer::load(folder.path());
  EXPECT_EQ(tokenizer.vocab_size(), 8);
  EXPECT_EQ(tokenizer.pad_id(), 5);
  const auto ids = tokenizer.encode_source(">>fra<< the");
  EXPECT_EQ(ids.front(), 4);
  EXPECT_EQ(ids.back(), 7);
  EXPECT_EQ(tokenizer.decode_target({4, 3, 7}), ">>fra<< the");
  EXPECT_THROW(tokenizer.decode_target({6}), c10::ValueError);  // an id without a piece
}

TEST(SubwordTokenizer, SeparateVocabulariesAreRead) {
  const TemporaryFolder folder;
  make_tokenizer().save(folder.path());
  folder.write("vocab.json", R"({"</s>": 0, "<unk>": 1, "▁the": 2, "<pad>": 3})");
  folder.write("target_vocab.json",
               R"({"</s>": 0, "<unk>": 1, "▁la": 2, "▁the": 3, "▁le": 4, "<pad>": 5})");
  folder.write("tokenizer_config.json", R"({"separate_vocabs": true})");
  const auto tokenizer = SubwordTokenizer::load(folder.path());
  EXPECT_TRUE(tokenizer.separate_vocabs());
  EXPECT_EQ(tokenizer.vocab_size(), 4);
  EXPECT_EQ(tokenizer.target_vocabulary().size(), 6);
  EXPECT_EQ(tokenizer.target_vocabulary().pad_id(), 5);
  EXPECT_EQ(tokenizer.decode_target({4, 3, 0}), "le the");
  tokenizer.save(folder.path() / "copy");
  EXPECT_EQ(SubwordTokenizer::load(folder.path() / "copy").target_vocabulary().size(), 6);
}

class SeparateVocabularies : public testing::TestWithParam<SubwordModel> {
 protected:
  static SubwordTokenizer joint() {
    SubwordTrainingOptions options;
    options.vocab_size = 150;
    options.model = GetParam();
    return train_subwords(corpus(), options);
  }
  // The even sentences are English, the odd ones French.
  static std::vector<std::string> side(size_t first) {
    std::vector<std::string> texts;
    for (size_t i = first; i < corpus().size(); i += 2) texts.push_back(corpus()[i]);
    return texts;
  }
};

TEST_P(SeparateVocabularies, HoldWhatTheTextsOfASideAreCutInto) {
  const auto whole = joint(), separate = whole.with_separate_vocabs(side(0), side(1));
  EXPECT_TRUE(separate.separate_vocabs());
  EXPECT_LT(separate.source_vocabulary().size(), whole.vocab_size());
  EXPECT_LT(separate.target_vocabulary().size(), whole.vocab_size());
  EXPECT_NE(separate.source_vocabulary().size(), separate.target_vocabulary().size());
  const auto pieces = [](const std::vector<Subword>& subwords) {
    std::vector<std::string> result;
    for (const auto& subword : subwords) result.push_back(subword.piece);
    return result;
  };
  for (const auto& text : side(0)) {
    EXPECT_EQ(pieces(separate.source_subwords(text)), pieces(whole.source_subwords(text)));
  }
  for (const auto& text : side(1)) {
    EXPECT_EQ(pieces(separate.target_subwords(text)), pieces(whole.target_subwords(text)));
  }
  for (const auto* vocabulary : {&separate.source_vocabulary(), &separate.target_vocabulary()}) {
    EXPECT_EQ(vocabulary->eos_id(), 0);
    EXPECT_EQ(vocabulary->unk_id(), 1);
    EXPECT_EQ(vocabulary->pad_id(), 2);
  }
}

TEST_P(SeparateVocabularies, CutOtherTextsIntoWhatTheyHold) {
  const auto separate = joint().with_separate_vocabs(side(0), side(1));
  for (const auto& text : corpus()) {  // the texts of the other side too
    for (const auto& ids : {separate.encode_source(text), separate.encode_target(text)}) {
      EXPECT_EQ(std::ranges::count(ids, separate.unk_id()), 0) << text;
    }
    EXPECT_EQ(separate.decode_target(separate.encode_target(text)), text);
  }
}

TEST_P(SeparateVocabularies, AreSavedAndLoaded) {
  const TemporaryFolder folder;
  const auto separate = joint().with_separate_vocabs(side(0), side(1));
  separate.save(folder.path());
  const auto loaded = SubwordTokenizer::load(folder.path());
  EXPECT_TRUE(loaded.separate_vocabs());
  for (const auto& text : corpus()) {
    EXPECT_EQ(loaded.encode_source(text), separate.encode_source(text));
    EXPECT_EQ(loaded.encode_target(text), separate.encode_target(text));
  }
}

TEST_P(SeparateVocabularies, AreMadeOnceOfOneModel) {
  const auto separate = joint().with_separate_vocabs(side(0), side(1));
  EXPECT_THROW(separate.with_separate_vocabs(side(0), side(1)), c10::Error);
  const TemporaryFolder folder;
  joint().save(folder.path());
  folder.write("vocab.json", R"({"<pad>": 5, "</s>": 7, "<unk>": 0, ">>fra<<": 4})");
  EXPECT_THROW(SubwordTokenizer::load(folder.path()).with_separate_vocabs(side(0), side(1)),
               c10::Error);
}

TEST_P(SeparateVocabularies, MayBeOneWithTheTargetsPiecesFirstAndThePaddingLast) {
  const auto whole = joint(), separate = whole.with_separate_vocabs(side(0), side(1)),
             one = whole.with_restricted_vocab(side(0), side(1));
  EXPECT_EQ(whole.target_vocab_size(), whole.vocab_size());
  EXPECT_EQ(separate.target_vocab_size(), separate.target_vocabulary().size());
  EXPECT_FALSE(one.separate_vocabs());
  // All of a vocabulary of the target's own but its padding.
  EXPECT_EQ(one.target_vocab_size(), separate.target_vocabulary().size() - 1);
  EXPECT_LT(one.target_vocab_size(), one.vocab_size());
  EXPECT_LE(one.vocab_size(), whole.vocab_size());
  EXPECT_EQ(one.pad_id(), one.vocab_size() - 1);
  std::vector<std::string> of_target;
  for (int64_t id = 0; id < separate.target_vocabulary().size(); ++id) {
    if (id != separate.pad_id()) of_target.push_back(separate.target_vocabulary().piece(id));
  }
  for (int64_t id = 0; id < one.target_vocab_size(); ++id) {
    EXPECT_EQ(one.target_vocabulary().piece(id), of_target[static_cast<size_t>(id)]);
  }
  const TemporaryFolder folder;
  one.save(folder.path());
  const auto loaded = SubwordTokenizer::load(folder.path());
  EXPECT_EQ(loaded.target_vocab_size(), one.target_vocab_size());
  const auto pieces = [](const std::vector<Subword>& subwords) {
    std::vector<std::string> result;
    for (const auto& subword : subwords) result.push_back(subword.piece);
    return result;
  };
  for (const auto& text : corpus()) {
    EXPECT_EQ(pieces(one.source_subwords(text)), pieces(separate.source_subwords(text)));
    EXPECT_EQ(pieces(one.target_subwords(text)), pieces(separate.target_subwords(text)));
    EXPECT_LT(std::ranges::max(one.encode_target(text)), one.target_vocab_size());
    EXPECT_EQ(std::ranges::count(one.encode_source(text), one.unk_id()), 0) << text;
    EXPECT_EQ(loaded.encode_source(text), one.encode_source(text));
    EXPECT_EQ(loaded.encode_target(text), one.encode_target(text));
    EXPECT_EQ(one.decode_target(one.encode_target(text)), text);
  }
}

// As attend 0.1 wrote them: the padding before the pieces.
TEST_P(SeparateVocabularies, AVocabularyWithThePaddingElsewhereIsReadAsItIs) {
  const TemporaryFolder folder;
  const auto tokenizer = joint().with_restricted_vocab(side(0), side(1));
  tokenizer.save(folder.path());
  std::vector<std::string> pieces{"</s>", "<unk>", "<pad>"};
  for (int64_t id = 2; id < tokenizer.pad_id(); ++id) {
    pieces.push_back(tokenizer.source_vocabulary().piece(id));
  }
  nlohmann::json vocabulary;
  for (size_t id = 0; id < pieces.size(); ++id) vocabulary[pieces[id]] = id;
  folder.write("vocab.json", vocabulary.dump());
  const auto loaded = SubwordTokenizer::load(folder.path());
  EXPECT_EQ(loaded.pad_id(), 2);
  EXPECT_EQ(loaded.vocab_size(), tokenizer.vocab_size());
  EXPECT_EQ(loaded.target_vocab_size(), tokenizer.target_vocab_size() + 1);
  for (const auto& text : corpus()) {
    auto ids = tokenizer.encode_target(text);
    for (auto& id : ids) id += id >= 2 ? 1 : 0;
    EXPECT_EQ(loaded.encode_target(text), ids);
  }
}

// A code is one token, and no piece of the model.
TEST_P(SeparateVocabularies, ALanguageCodeMayStandInATargetToo) {
  const TemporaryFolder folder;
  const auto tokenizer = joint().with_restricted_vocab(side(0), side(1));
  tokenizer.save(folder.path());
  auto vocabulary = TemporaryFolder::read(folder.path() / "vocab.json");
  const auto id = tokenizer.vocab_size() + 2;  // the two ids before it stand for nothing
  vocabulary.replace(vocabulary.rfind('}'), 1, ", \">>fra<<\": " + std::to_string(id) + "}");
  folder.write("vocab.json", vocabulary);
  const auto loaded = SubwordTokenizer::load(folder.path());
  EXPECT_EQ(loaded.encode_target(">>fra<< le chat").front(), id);
  EXPECT_EQ(loaded.target_vocab_size(), id + 1);
}

INSTANTIATE_TEST_SUITE_P(Models, SeparateVocabularies,
                         testing::Values(SubwordModel::kUnigram, SubwordModel::kBpe),
                         [](const auto& param_info) {
                           return param_info.param == SubwordModel::kBpe ? "Bpe" : "Unigram";
                         });

TEST(SubwordTokenizer, TheConfigNamesTheSpecialTokensAndTheCleaning) {
  const TemporaryFolder folder;
  make_tokenizer().save(folder.path());
  folder.write("vocab.json", R"({"[END]": 0, "[UNK]": 1, "▁the": 2, "▁.": 3, "[PAD]": 4})");
  folder.write("tokenizer_config.json",
               R"({"eos_token": {"content": "[END]"}, "unk_token": "[UNK]", "pad_token": "[PAD]",
                   "clean_up_tokenization_spaces": true})");
  const auto tokenizer = SubwordTokenizer::load(folder.path());
  EXPECT_EQ(tokenizer.eos_id(), 0);
  EXPECT_EQ(tokenizer.unk_id(), 1);
  EXPECT_EQ(tokenizer.pad_id(), 4);
  EXPECT_EQ(tokenizer.decode_target({4, 2, 3, 1, 0}), "the.");
}

TEST(SubwordTokenizer, AFolderWithoutAConfigIsRead) {
  const TemporaryFolder folder;
  make_tokenizer().save(folder.path());
  std::filesystem::remove(folder.path() / "tokenizer_config.json");
  EXPECT_EQ(SubwordTokenizer::load(folder.path()).eos_id(), 0);
}

TEST(SubwordTokenizer, WhatIsWrongWithAFolderIsSaidWithTheFile) {
  const TemporaryFolder folder;
  make_tokenizer().save(folder.path());
  const auto error_with = [&](const std::string& name, const std::string& content) {
    const auto path = folder.path() / name;
    const bool existed = std::filesystem::exists(path);
    const auto original = existed ? TemporaryFolder::read(path) : "";
    folder.write(name, content);
    auto message = load_error(folder.path());
    if (existed) folder.write(name, original);
    if (!existed) std::filesystem::remove(path);
    const auto prefix = path.string() + ": ";
    EXPECT_TRUE(message.starts_with(prefix)) << message;
    return message.size() > prefix.size() ? message.substr(prefix.size()) : message;
  };
  EXPECT_EQ(error_with("vocab.json", ""), "expected a JSON object, got malformed JSON");
  EXPECT_EQ(error_with("vocab.json", "{\"a\": 1"), "expected a JSON object, got malformed JSON");
  EXPECT_EQ(error_with("vocab.json", "[1]"), "expected a JSON object, got array");
  EXPECT_EQ(error_with("vocab.json", R"({"a": 1, "b": 1})"),
            "expected every id once, got 1 for 'a' and 'b'");
  EXPECT_EQ(error_with("vocab.json", R"({"a": -1})"),
            "expected pieces with ids in [0, 1026), got 'a': -1");
  EXPECT_EQ(error_with("vocab.json", R"({"a": 1.5})"),
            "expected pieces with ids in [0, 1026), got 'a': 1.5");
  EXPECT_EQ(error_with("vocab.json", R"({"</s>": 0, "<unk>": 1})"),
            "Vocabulary: expected the special token '<pad>', got 2 pieces without it");
  EXPECT_EQ(error_with("source.spm", ""), "expected a SentencePiece model, got an empty file");
  EXPECT_TRUE(
      error_with("target.spm", "not a model").starts_with("expected a SentencePiece model"));
  EXPECT_EQ(error_with("tokenizer_config.json", R"({"separate_vocabs": 1})"),
            "expected true or false for separate_vocabs, got 1");
  EXPECT_EQ(error_with("tokenizer_config.json", R"({"eos_token": 3})"),
            "expected a string for eos_token, got 3");
  EXPECT_EQ(error_with("tokenizer_config.json", R"({"sp_model_kwargs": {"alpha": 0.1}})"),
            R"(expected no sp_model_kwargs, got {"alpha":0.1})");
  EXPECT_EQ(error_with("tokenizer_config.json",
                       R"({"added_tokens_decoder": {"900": {"content": "<new>"}}})"),
            "expected added tokens as in vocab.json, got 900: '<new>'");
  EXPECT_EQ(load_error(folder.path()), "");  // every file is as it was
}

// Text from a file can hold anything, and a million levels are more than a recursion can follow.
TEST(SubwordTokenizer, MessagesAboutAFileAreShortAndPrintable) {
  const std::string evil = R"("a\n\u001b[31m)" + std::string(5000, 'x') + '"';
  const auto levels = std::string(1'000'000, '[') + std::string(1'000'000, ']');
  const std::vector<std::pair<const char*, std::string>> files{
      {"vocab.json", "{" + evil + ": -1}"},
      {"vocab.json", "{\"a\": " + levels + "}"},
      {"vocab.json", "{" + evil + ": 0, \"b\": 0}"},
      {"tokenizer_config.json", "{\"eos_token\": " + levels + "}"},
      {"tokenizer_config.json", "{\"eos_token\": " + evil + "}"},
      {"tokenizer_config.json", "{\"separate_vocabs\": " + evil + "}"},
      {"tokenizer_config.json", "{\"sp_model_kwargs\": {\"a\": " + levels + "}}"},
      {"tokenizer_config.json", "{\"added_tokens_decoder\": {\"3\": " + levels + "}}"},
      {"tokenizer_config.json", "{\"added_tokens_decoder\": {\"3\": {\"content\": " + evil + "}}}"},
  };
  for (const auto& [name, content] : files) {
    const TemporaryFolder folder;
    make_tokenizer().save(folder.path());
    folder.write(name, content);
    const auto message = load_error(folder.path());
    EXPECT_TRUE(message.starts_with(folder.path().string())) << message;
    EXPECT_LT(message.size(), folder.path().string().size() + 600) << name;
    EXPECT_TRUE(std::ranges::none_of(message, [](unsigned char c) { return c < 0x20; })) << message;
  }
}

TEST(SubwordTokenizer, FilesThatAreNoRegularFilesAreNamed) {
  const TemporaryFolder folder;
  make_tokenizer().save(folder.path());
  const auto path = folder.path() / "vocab.json";
  std::filesystem::remove(path);
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  EXPECT_EQ(load_error(folder.path()),
            path.string() + ": expected a regular file, got a folder or a special file");
}

TEST(SubwordTokenizer, MissingFilesAreNamed) {
  const TemporaryFolder folder;
  EXPECT_NE(load_error(folder.path()).find("vocab.json: cannot read: No such file"),
            std::string::npos);
  make_tokenizer().save(folder.path());
  folder.write("tokenizer_config.json", R"({"separate_vocabs": true})");
  EXPECT_NE(load_error(folder.path()).find("target_vocab.json"), std::string::npos);
}

TEST(SubwordTokenizer, ATruncatedModelIsRefusedOrStillWorksAndNeverCrashes) {
  const TemporaryFolder folder;
  make_tokenizer().save(folder.path());
  const auto model = TemporaryFolder::read(folder.path() / "source.spm");
  size_t refused = 0, tried = 0;
  for (size_t size = 1; size < model.size(); size += 1 + model.size() / 97) {
    folder.write("source.spm", model.substr(0, size));
    ++tried;
    try {
      // Cut between two of its fields, a model is a smaller model.
      SubwordTokenizer::load(folder.path()).encode_source("The cat");
    } catch (const FileError& e) {
      EXPECT_NE(std::string(e.what()).find("source.spm"), std::string::npos) << e.what();
      ++refused;
    }
  }
  EXPECT_GT(refused, tried * 9 / 10);
}

TEST(SubwordTokenizer, ThreadsMayShareIt) {
  const auto tokenizer = make_tokenizer();
  const auto expected = tokenizer.encode_source(corpus()[0]);
  std::vector<std::thread> threads;
  std::array<char, 4> ok{};
  for (size_t t = 0; t < ok.size(); ++t) {
    threads.emplace_back([&, copy = tokenizer, t] {
      bool all = true;
      for (int i = 0; i < 200; ++i) all = all && copy.encode_source(corpus()[0]) == expected;
      ok[t] = all;
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(std::count(ok.begin(), ok.end(), 1), 4);
}

// ---- Models that would lead SentencePiece astray ------------------------------------------------

std::string refusal(const std::string& model) {
  try {
    const auto tokenizer = SubwordTokenizer::from_joint_model(model);
    for (const auto* text : {"The cat sits", "\uFDFA Ａ ½ x"}) {
      tokenizer.decode_target(tokenizer.encode_source(text));
      tokenizer.source_subwords(text);
    }
  } catch (const c10::Error& e) {
    return e.what_without_backtrace();
  }
  return {};
}

// Where the normaliser's table lies in a model: the size of its trie, the trie, its texts.
struct Table {
  size_t begin, trie_size, size;
};

uint32_t number_at(const std::string& bytes, size_t at) {
  uint32_t value = 0;
  for (size_t i = 0; i < 4; ++i) {
    value |= uint32_t{static_cast<unsigned char>(bytes[at + i])} << (8U * i);
  }
  return value;
}

void set_number(std::string& bytes, size_t at, uint32_t value) {
  for (size_t i = 0; i < 4; ++i) bytes[at + i] = static_cast<char>(value >> (8U * i) & 0xFFU);
}

Table table_of(const std::string& model) {
  const std::string before = "nmt_nfkc\x12";  // its name, and the tag of the table
  auto at = model.find(before);
  EXPECT_NE(at, std::string::npos);
  at += before.size();
  size_t size = 0;
  for (unsigned shift = 0;; shift += 7) {
    const auto byte = static_cast<unsigned char>(model[at++]);
    size |= size_t{byte & 0x7FU} << shift;
    if (byte < 0x80) break;
  }
  return {at, number_at(model, at), size};
}

TEST(SubwordTokenizer, AModelWhoseNormaliserPointsOutsideOfItsTablesIsRefused) {
  const auto good = make_tokenizer().source_model();
  const auto table = table_of(good);
  ASSERT_EQ(table.trie_size % 1024, 0U);
  ASSERT_LT(table.trie_size, table.size);
  EXPECT_EQ(refusal(good), "");
  const auto root = table.begin + 4;
  const auto changed = [&](size_t at, uint32_t value) {
    auto model = good;
    set_number(model, at, value);
    return refusal(model);
  };
  const std::string expected =
      "SubwordTokenizer: expected a SentencePiece model, got a normaliser whose tables do not fit "
      "together";
  EXPECT_EQ(changed(root, 0x7FFFFE00), expected);      // leads far beyond the trie
  EXPECT_EQ(changed(table.begin, 0), expected);        // no trie
  EXPECT_EQ(changed(table.begin, 1 << 20), expected);  // a trie larger than the table
  EXPECT_EQ(changed(table.begin, 1025), expected);     // of no whole blocks
  auto model = good;
  model[table.begin + table.size - 1] = 'x';  // the last text has no end
  EXPECT_EQ(refusal(model), expected);
  model = good;
  for (auto at = root; at < root + table.trie_size; at += 4) {
    if (number_at(model, at) >> 31U != 0) set_number(model, at, 0xFFFFFFFF);
  }
  EXPECT_EQ(refusal(model), expected);  // texts far behind the last
}

// A message of a field that holds bytes.
std::string field(char tag, const std::string& bytes) {
  std::string result(1, tag);
  auto size = bytes.size();
  for (; size >= 0x80; size >>= 7U) result += static_cast<char>(0x80U | (size & 0x7FU));
  return result + static_cast<char>(size) + bytes;
}

TEST(SubwordTokenizer, AModelWithPiecesThatBreakSentencePieceIsRefused) {
  const auto with_piece = [](const std::string& piece) {
    return make_tokenizer().source_model() + field('\x0A', field('\x0A', piece));
  };
  EXPECT_EQ(refusal(with_piece("cat2")), "");
  EXPECT_EQ(refusal(with_piece(std::string(200'000, 'a'))),
            "SubwordTokenizer: expected a SentencePiece model, got a piece of 200000 bytes");
  EXPECT_EQ(refusal(with_piece("foo\0bar"s)),
            "SubwordTokenizer: expected a SentencePiece model, got a piece with a NUL");
  const auto last = make_tokenizer().vocab_size() - 1;
  EXPECT_EQ(refusal(with_piece("\xFF")),
            "SubwordTokenizer: expected pieces in UTF-8, got other bytes in piece " +
                std::to_string(last));
}

TEST(SubwordTokenizer, ADamagedModelIsReadOrRefused) {
  const auto good = make_tokenizer().source_model();
  std::mt19937 random(1);
  for (int i = 0; i < 200; ++i) {
    auto model = good;
    if (i % 4 == 0) model.resize(random() % model.size());
    for (int change = 0; change < (i % 4 == 1 ? 1 : 20); ++change) {
      const auto range = random() % 2 == 0 ? model.size() : std::min<size_t>(model.size(), 3000);
      if (range > 0) model[random() % range] = static_cast<char>(random() & 0xFFU);
    }
    refusal(model);  // returns
  }
}

}  // namespace
}  // namespace attend::subword_tokenizer_test
