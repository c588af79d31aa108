#include "attend/text/bpe_dropout.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>
#include <torch/torch.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "attend/text/subword_training.h"
#include "support/temporary_folder.h"

namespace attend::bpe_dropout_test {
namespace {

using Ids = std::vector<int64_t>;

const std::vector<std::string>& corpus() {
  static const std::vector<std::string> sentences{
      "The cat sits on the mat, and the cats sit on the mats.",
      "Le chat est assis sur le tapis, et les chats sont assis sur les tapis.",
      "Two young men are outside near many bushes.",
      "Deux jeunes hommes sont dehors près de buissons.",
      "Several men in hard hats are operating a giant pulley system.",
      "Plusieurs hommes en casque font marcher un système de poulies géant.",
      "日本語 日本 日本人",
  };
  return sentences;
}

SubwordTokenizer make_tokenizer(SubwordModel model = SubwordModel::kBpe) {
  SubwordTrainingOptions options;
  options.vocab_size = 150;
  options.model = model;
  return train_subwords(corpus(), options);
}

SubwordTokenizer make_separate_tokenizer() {
  return make_tokenizer().with_separate_vocabs(std::vector{corpus()[0], corpus()[2]},
                                               std::vector{corpus()[1], corpus()[3]});
}

SubwordTokenizer make_restricted_tokenizer() {
  return make_tokenizer().with_restricted_vocab(std::vector{corpus()[0], corpus()[2]},
                                                std::vector{corpus()[1], corpus()[3]});
}

std::vector<std::string> texts() {
  auto texts = corpus();
  for (const auto* text :
       {"", "a", "unseen words: zyzzyva, 12 quarks", ">>fra<< the cat",
        "a \u2603 and an \U0001F600 in it", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}) {
    texts.emplace_back(text);
  }
  return texts;
}

std::vector<std::string> pieces_of(const SubwordTokenizer& tokenizer, const Ids& ids) {
  std::vector<std::string> pieces;
  for (const auto id : ids) pieces.push_back(tokenizer.source_vocabulary().piece(id));
  return pieces;
}

std::vector<SubwordTokenizer> tokenizers() {
  return {make_tokenizer(), make_separate_tokenizer(), make_restricted_tokenizer()};
}

TEST(BpeDropoutTest, WithoutDropoutItCutsAsTheTokenizerDoes) {
  for (const auto& tokenizer : tokenizers()) {
    const BpeDropout none(tokenizer, 0.0);
    std::mt19937_64 random(1);
    for (const auto& text : texts()) {
      const auto source = tokenizer.encode_source(text), target = tokenizer.encode_target(text);
      EXPECT_EQ(none.sample_source(source, random), source) << text;
      EXPECT_EQ(none.sample_target(target, random), target) << text;
    }
  }
}

TEST(BpeDropoutTest, TheTextIsTheSame) {
  for (const auto& tokenizer : tokenizers()) {
    for (const auto probability : {0.1, 0.5, 0.9}) {
      const BpeDropout dropout(tokenizer, probability);
      std::mt19937_64 random(2);
      for (const auto& text : texts()) {
        const auto ids = tokenizer.encode_target(text);
        const auto sampled = dropout.sample_target(ids, random);
        EXPECT_EQ(tokenizer.decode_target(sampled), tokenizer.decode_target(ids)) << text;
        EXPECT_EQ(std::ranges::count(sampled, tokenizer.target_vocabulary().unk_id()),
                  std::ranges::count(ids, tokenizer.target_vocabulary().unk_id()))
            << text;
        EXPECT_EQ(sampled.back(), tokenizer.target_vocabulary().eos_id()) << text;
        EXPECT_LT(std::ranges::max(sampled), tokenizer.target_vocab_size()) << text;
      }
    }
  }
}

TEST(BpeDropoutTest, ASeedGivesItsSubwordsAndAnotherOneOthers) {
  const auto tokenizer = make_tokenizer();
  const BpeDropout dropout(tokenizer, 0.3);
  const auto sample = [&](uint64_t seed) {
    std::mt19937_64 random(seed);
    Ids all;
    for (const auto& text : corpus()) {
      const auto ids = dropout.sample_source(tokenizer.encode_source(text), random);
      all.insert(all.end(), ids.begin(), ids.end());
    }
    return all;
  };
  EXPECT_EQ(sample(3), sample(3));
  EXPECT_NE(sample(3), sample(4));
}

TEST(BpeDropoutTest, NearOneLeavesCharacters) {
  const auto tokenizer = make_tokenizer();
  const BpeDropout dropout(tokenizer, std::nextafter(1.0, 0.0));
  std::mt19937_64 random(5);
  EXPECT_THAT(
      pieces_of(tokenizer, dropout.sample_source(tokenizer.encode_source("the près"), random)),
      testing::ElementsAre("▁", "t", "h", "e", "▁", "p", "r", "è", "s", "</s>"));
}

// A folder whose vocabulary holds a language code and lacks a piece of the model.
TEST(BpeDropoutTest, LanguageCodesStayAndWhatTheVocabularyLacksIsCutFurther) {
  const testing_support::TemporaryFolder folder;
  make_tokenizer().save(folder.path());
  const auto path = folder.path() / "vocab.json";
  auto vocabulary = nlohmann::json::parse(std::ifstream(path));
  const auto lacking = vocabulary.at("▁t").get<int64_t>();
  vocabulary.erase("▁t");
  vocabulary[">>fra<<"] = lacking;
  std::ofstream(path) << vocabulary;
  const auto tokenizer = SubwordTokenizer::load(folder.path());
  const auto ids = tokenizer.encode_source(">>fra<< the mat");
  ASSERT_EQ(ids.front(), lacking);
  ASSERT_EQ(std::ranges::count(ids, tokenizer.unk_id()), 0);
  const BpeDropout dropout(tokenizer, 0.5);
  std::mt19937_64 random(9);
  for (int i = 0; i < 200; ++i) {
    const auto sampled = dropout.sample_source(ids, random);
    EXPECT_EQ(sampled.front(), lacking);
    EXPECT_EQ(std::ranges::count(sampled, tokenizer.unk_id()), 0);
    EXPECT_EQ(tokenizer.decode_target(sampled), tokenizer.decode_target(ids));
  }
}

TEST(BpeDropoutTest, WhatUsersDefinedIsNotCut) {
  // What train_subwords never makes; SentencePiece's own trainer does.
  const testing_support::TemporaryFolder folder;
  std::ofstream text(folder.path() / "text");
  for (const auto& sentence : corpus()) text << sentence << "\n";
  text.close();
  const auto prefix = (folder.path() / "m").string();
  ASSERT_TRUE(
      sentencepiece::SentencePieceTrainer::Train({{"input", (folder.path() / "text").string()},
                                                  {"model_prefix", prefix},
                                                  {"model_type", "bpe"},
                                                  {"vocab_size", "120"},
                                                  {"user_defined_symbols", "mdhz"},
                                                  {"bos_id", "-1"},
                                                  {"minloglevel", "2"}})
          .ok());
  std::ostringstream model;
  model << std::ifstream(prefix + ".model", std::ios::binary).rdbuf();
  const auto tokenizer = SubwordTokenizer::from_joint_model(model.str());
  const auto ids = tokenizer.encode_source("the mdhz mat");
  const auto defined = tokenizer.source_vocabulary().id("mdhz");
  ASSERT_EQ(std::ranges::count(ids, defined), 1);
  std::mt19937_64 random(10);
  EXPECT_EQ(BpeDropout(tokenizer, 0.0).sample_source(ids, random), ids);
  const auto sampled = BpeDropout(tokenizer, 0.9).sample_source(ids, random);
  EXPECT_GT(sampled.size(), ids.size());
  EXPECT_EQ(std::ranges::count(sampled, defined), 1);
}

TEST(BpeDropoutTest, SpecialTokensStay) {
  const auto tokenizer = make_tokenizer();
  const BpeDropout dropout(tokenizer, 0.99);
  std::mt19937_64 random(6);
  const auto unk = tokenizer.unk_id(), pad = tokenizer.pad_id(), eos = tokenizer.eos_id();
  const auto a = tokenizer.source_vocabulary().id("a");
  const Ids ids{pad, a, unk, a, eos, pad};
  EXPECT_EQ(dropout.sample_source(ids, random), ids);
  EXPECT_EQ(dropout.sample_source({}, random), Ids{});
}

// The cuts of a word are as frequent as SentencePiece's own, with a vocabulary that lacks pieces too.
// The difference of two frequencies near f, of n draws each, has a standard deviation of
// sqrt(2 f (1 - f) / n); 5 of them are allowed, and a few draws of what is rare.
TEST(BpeDropoutTest, CutsAreAsFrequentAsSentencePiecesOwn) {
  constexpr int kDraws = 20'000;
  constexpr double kProbability = 0.25;
  sentencepiece::SetRandomGeneratorSeed(7);
  std::mt19937_64 random(7);
  const auto compare = [&](const SubwordTokenizer& tokenizer, const std::string& text) {
    sentencepiece::SentencePieceProcessor processor;
    ASSERT_TRUE(processor.LoadFromSerializedProto(tokenizer.source_model()).ok());
    const BpeDropout dropout(tokenizer, kProbability);
    const auto ids = tokenizer.encode_source(text);
    std::map<std::vector<std::string>, double> own, theirs;
    for (int i = 0; i < kDraws; ++i) {
      auto cut = pieces_of(tokenizer, dropout.sample_source(ids, random));
      cut.pop_back();  // </s>
      own[cut] += 1.0 / kDraws;
      std::vector<std::string> pieces;
      ASSERT_TRUE(processor.SampleEncode(text, /*nbest_size=*/-1, kProbability, &pieces).ok());
      theirs[pieces] += 1.0 / kDraws;
    }
    EXPECT_GT(own.size(), 10U) << text;
    for (const auto& [cut, frequency] : theirs) own.try_emplace(cut, 0.0);
    for (const auto& [cut, frequency] : own) {
      const auto f = std::max(frequency, theirs[cut]);
      EXPECT_NEAR(frequency, theirs[cut], 5 * std::sqrt(2 * f * (1 - f) / kDraws) + 5.0 / kDraws)
          << testing::PrintToString(cut);
    }
  };
  for (const auto& tokenizer : {make_tokenizer(), make_separate_tokenizer()}) {
    for (const auto* text : {"the cats", "many bushes"}) compare(tokenizer, text);
  }
}

TEST(BpeDropoutTest, BadArgumentsAreNamed) {
  const auto tokenizer = make_tokenizer();
  for (const auto probability : {-0.1, 1.0, std::nan("")}) {
    EXPECT_THROW(BpeDropout(tokenizer, probability), c10::ValueError) << probability;
  }
  EXPECT_THAT([] { BpeDropout(make_tokenizer(SubwordModel::kUnigram), 0.1); },
              testing::ThrowsMessage<c10::ValueError>(
                  testing::HasSubstr("BpeDropout: expected a BPE model, got a unigram model")));
  std::mt19937_64 random(8);
  EXPECT_THROW(BpeDropout(tokenizer, 0.1).sample_source({9999}, random), c10::ValueError);
}

}  // namespace
}  // namespace attend::bpe_dropout_test
