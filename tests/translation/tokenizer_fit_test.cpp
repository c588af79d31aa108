#include "attend/translation/tokenizer_fit.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <span>
#include <string>
#include <vector>

#include "attend/checkpoint/model_folder.h"
#include "attend/file_error.h"
#include "attend/models/causal_lm.h"
#include "attend/models/recurrent_seq2seq.h"
#include "attend/models/seq2seq.h"
#include "attend/text/subword_training.h"
#include "attend/training/trainer.h"
#include "attend/translation/translator.h"
#include "support/temporary_folder.h"
#include "support/tensor_assert.h"

namespace attend::tokenizer_fit_test {
namespace {

using testing_support::TemporaryFolder;

const std::vector<std::string>& sentences() {
  static const std::vector<std::string> lines{"the cat sits on the mat", "a dog sleeps here",
                                              "le chat est assis", "un chien dort"};
  return lines;
}

// </s> 0, <unk> 1, pieces, <pad> last.
const SubwordTokenizer& joint() {
  static const auto tokenizer = train_subwords(sentences(), {.vocab_size = 40});
  return tokenizer;
}

int64_t size() { return joint().vocab_size(); }
int64_t pad() { return size() - 1; }

// A model of so many tokens on both sides, whose padding and start are the last of them.
Seq2SeqOptions of_size(int64_t tokens) { return Seq2SeqOptions(tokens, tokens, 8, 2, 1); }

std::string mismatch(const IncrementalModel& model) {
  return tokenizer_mismatch(model, joint()).value_or("");
}
std::string mismatch(const Seq2SeqOptions& options) { return mismatch(Seq2Seq(options)); }

std::string too_small(const char* side, int64_t tokens) {
  return fmt::format("expected a model of at least the tokenizer's {} {} tokens, got one of {}",
                     size(), side, tokens);
}

TEST(TokenizerFit, ATokenizersOwnModelFits) {
  ASSERT_EQ(joint().pad_id(), pad());
  EXPECT_EQ(mismatch(of_size(size())), "");
  EXPECT_TRUE(spare_tokens(Seq2Seq(of_size(size())), joint()).empty());
  EXPECT_EQ(mismatch(RecurrentSeq2Seq(size(), size(), 8)), "");
  EXPECT_EQ(mismatch(*CausalLM(CausalLMOptions(size(), 8, 2, 1).bos_id(pad()).eos_id(0))), "");
}

TEST(TokenizerFit, AModelThatKnowsFewerIdsIsNamedWithBothSizes) {
  EXPECT_EQ(mismatch(of_size(size() - 2)), too_small("source", size() - 2));
  EXPECT_EQ(mismatch(Seq2SeqOptions(size(), size() - 1, 8, 2, 1).share_embeddings(false)),
            too_small("target", size() - 1));
  EXPECT_EQ(mismatch(RecurrentSeq2Seq(size() - 2, size() - 2, 8)), too_small("source", size() - 2));
  EXPECT_EQ(mismatch(*CausalLM(size() - 2, 8, 2, 1)), too_small("source", size() - 2));
}

TEST(TokenizerFit, SpareIdsOfTheModelAreAllowedAndListed) {
  const auto options = of_size(size() + 3).pad_id(pad()).start_id(pad());
  EXPECT_EQ(mismatch(options), "");
  EXPECT_EQ(spare_tokens(Seq2Seq(options), joint()),
            (std::vector<int64_t>{size(), size() + 1, size() + 2}));
}

TEST(TokenizerFit, OtherSpecialTokensAreNamedWithBothIds) {
  EXPECT_EQ(mismatch(of_size(size()).eos_id(1)),
            "expected the tokenizer's end token of the target, 0 ('</s>'), as the model's eos_id, "
            "got 1 ('<unk>')");
  EXPECT_EQ(mismatch(of_size(size() + 10)),
            fmt::format("expected the tokenizer's padding token of the source, {} ('<pad>'), as "
                        "the model's pad_id, got {}",
                        pad(), size() + 9));
  EXPECT_EQ(mismatch(*CausalLM(size(), 8, 2, 1)),
            fmt::format("expected the tokenizer's end token of the target, 0 ('</s>'), as the "
                        "model's eos_id, got {} ('<pad>')",
                        pad()));
}

TEST(TokenizerFit, TheStartTokenIsNoText) {
  EXPECT_EQ(mismatch(of_size(size()).start_id(5)),
            fmt::format("expected a token without text as the model's start_id, such as the "
                        "tokenizer's padding {} ('<pad>'), got 5 ('{}')",
                        pad(), joint().target_vocabulary().piece(5)));
  EXPECT_EQ(mismatch(of_size(size()).start_id(0)), "");  // as BART's
  EXPECT_EQ(mismatch(of_size(size() + 3).pad_id(pad()).start_id(size() + 2)), "");
}

TEST(TokenizerFit, WhoeverPairsThemRefusesAPairThatDoesNotFit) {
  const TemporaryFolder folder;
  Seq2Seq model(of_size(size() - 2));
  const auto why = too_small("source", size() - 2);
  EXPECT_THROW_MESSAGE(Translator(model.ptr(), joint()), c10::ValueError, "Translator: " + why);
  const ParallelText text{{"a dog"}, {"un chien"}};
  EXPECT_THROW_MESSAGE(Trainer(model.ptr(), joint(), text, text, folder.path(), {}),
                       c10::ValueError, "Trainer: " + why);
  save_model(folder.path(), *model);
  joint().save(folder.path());
  std::string message;
  try {
    Translator::load(folder.path());
  } catch (const FileError& error) {
    message = error.what();
  }
  EXPECT_EQ(message, folder.path().string() + ": " + why);
}

TEST(TokenizerFit, ARestrictedVocabularyNeedsOnlyItsTargetsIds) {
  const std::span<const std::string> both(sentences());
  const auto tokenizer = joint().with_restricted_vocab(both.first(2), both.last(2));
  ASSERT_LT(tokenizer.target_vocab_size(), tokenizer.vocab_size());
  const auto pad = tokenizer.pad_id();
  const auto with_target = [&](int64_t target) {
    return Seq2Seq(Seq2SeqOptions(tokenizer.vocab_size(), target, 8, 2, 1)
                       .share_embeddings(true)
                       .pad_id(pad)
                       .start_id(pad));
  };
  EXPECT_EQ(tokenizer_mismatch(*with_target(tokenizer.target_vocab_size()), tokenizer),
            std::nullopt);
  EXPECT_EQ(tokenizer_mismatch(*with_target(tokenizer.target_vocab_size() - 1), tokenizer),
            fmt::format("expected a model of at least the tokenizer's {} target tokens, got one "
                        "of {}",
                        tokenizer.target_vocab_size(), tokenizer.target_vocab_size() - 1));
}

}  // namespace
}  // namespace attend::tokenizer_fit_test
