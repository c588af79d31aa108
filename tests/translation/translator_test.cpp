#include "attend/translation/translator.h"

#include <gtest/gtest.h>

#include "attend/models/seq2seq.h"
#include "attend/text/subword_training.h"
#include "support/tensor_assert.h"

namespace attend::translator_test {
namespace {

SubwordTokenizer tokenizer() {
  return train_subwords({"the cat sits on the mat", "a dog sleeps under the old tree",
                         "le chat est assis sur le tapis", "un chien dort sous le vieil arbre"},
                        {.vocab_size = 60});
}

Translator random_translator(const TranslatorOptions& options) {
  const auto subwords = tokenizer();
  torch::manual_seed(11);
  Seq2Seq model(
      Seq2SeqOptions(subwords.vocab_size(), subwords.vocab_size(), 16, 2, 1).max_length(24));
  for (auto& parameter : model->parameters()) {
    const torch::NoGradGuard no_grad;
    parameter.normal_(0.0, 0.5);
  }
  return {model.ptr(), subwords, options};
}

const std::vector<std::string>& texts() {
  static const std::vector<std::string> lines{"the cat", "", "a dog sleeps on the mat", "   ",
                                              "the old old tree"};
  return lines;
}

TEST(Translator, EveryTextGetsItsAnswerInOrder) {
  const auto translator = random_translator({.beam_size = 2, .batch_tokens = 8});
  const auto together = translator.translate(texts());
  ASSERT_EQ(together.size(), texts().size());
  for (size_t i = 0; i < texts().size(); ++i) {
    const auto alone = translator.translate(texts()[i]);
    EXPECT_EQ(together[i].front().text, alone.text) << i;
    EXPECT_NEAR(together[i].front().score, alone.score, 1e-4) << i;
  }
  EXPECT_EQ(together[1].front().text, "");
  EXPECT_EQ(together[3].front().text, "");
  EXPECT_TRUE(translator.translate(std::vector<std::string>{}).empty());
}

TEST(Translator, ATextLongerThanTheModelIsTranslatedInParts) {
  const auto translator = random_translator({.beam_size = 1, .attention = true});
  std::string text;
  for (int i = 0; i < 40; ++i) text += "the cat sits ";
  const auto translation = translator.translate(text);
  EXPECT_FALSE(translation.text.empty());
  EXPECT_EQ(translation.attention.size(0),
            static_cast<int64_t>(split_words(translation.text).size()));
  EXPECT_LE(translation.attention.size(1), 120);
  EXPECT_GT(translation.attention.size(1), 100);
}

TEST(Translator, AlignmentCountsTheWordsOfBothTexts) {
  const auto translator = random_translator({.beam_size = 3, .n_best = 3, .attention = true});
  const auto translations = translator.translate(texts());
  for (const auto& translation : translations.at(2)) {
    const auto words = static_cast<int64_t>(split_words(translation.text).size());
    EXPECT_EQ(translation.attention.sizes(), (std::vector<int64_t>{words, 6}));
    EXPECT_EQ(static_cast<int64_t>(translation.alignment.size()), words);
  }
}

TEST(Translator, ForcedAlignmentHasTheWordsOfBothTexts) {
  const auto translator = random_translator({.beam_size = 1, .attention = true});
  const auto forced = translator.align({"a dog sleeps"}, {"un chien dort"}).front();
  EXPECT_EQ(forced.sizes(), (std::vector<int64_t>{3, 3}));
  EXPECT_GT(forced.min().item<float>(), 0.0F);
  EXPECT_LT(forced.sum(1).max().item<float>(), 1.0F);  // the rest is at the end token
  EXPECT_THROW_MESSAGE(translator.align({"a"}, {}), c10::ValueError,
                       "Translator::align: expected as many targets as sources, got 0 and 1");
}

TEST(Translator, SplitsAtWhitespaceOfAnyLength) {
  EXPECT_EQ(split_words("  le\tchat  dort \n"), (std::vector<std::string>{"le", "chat", "dort"}));
  EXPECT_TRUE(split_words(" \t ").empty());
}

}  // namespace
}  // namespace attend::translator_test
