#include "attend/checkpoint/generation_config.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "attend/checkpoint/model_folder.h"
#include "support/temporary_folder.h"

namespace attend::generation_config_test {
namespace {

using testing_support::TemporaryFolder;

constexpr SpecialTokenIds kTokens{.start_id = 10, .eos_id = 3, .pad_id = 10};

using Words = std::vector<std::vector<int64_t>>;

BeamSearchOptions read(const std::string& content, const BeamSearchOptions& otherwise = {}) {
  const TemporaryFolder folder;
  folder.write("generation_config.json", content);
  return load_search_options(folder.path(), kTokens, otherwise);
}

// The message, without the file's path.
std::string error_of(const std::string& content) {
  const TemporaryFolder folder;
  const auto path = folder.write("generation_config.json", content);
  try {
    load_search_options(folder.path(), kTokens);
  } catch (const FileError& error) {
    const std::string text = error.what(), prefix = path.string() + ": ";
    EXPECT_TRUE(text.starts_with(prefix)) << text;
    return text.substr(std::min(prefix.size(), text.size()));
  }
  return "no error";
}

TEST(GenerationConfig, EveryKeySetsItsOption) {
  EXPECT_EQ(read(R"({"num_beams": 4})").beam_size, 4);
  EXPECT_EQ(read(R"({"length_penalty": 0.6})").length_penalty, 0.6);
  EXPECT_EQ(read(R"({"length_penalty": 2})").length_penalty, 2.0);
  EXPECT_EQ(read(R"({"early_stopping": true})").early_stopping, EarlyStopping::kTrue);
  EXPECT_EQ(read(R"({"early_stopping": "never"})").early_stopping, EarlyStopping::kNever);
  EXPECT_EQ(
      read(R"({"early_stopping": false})", {.early_stopping = EarlyStopping::kTrue}).early_stopping,
      EarlyStopping::kFalse);
  EXPECT_EQ(read(R"({"max_length": 512})").max_length, 512);
  EXPECT_TRUE(read(R"({"forced_eos_token_id": 3})").forced_eos);
  EXPECT_TRUE(read(R"({"forced_eos_token_id": [3]})").forced_eos);
  EXPECT_TRUE(read(R"({"renormalize_logits": true})").renormalize_logits);
}

TEST(GenerationConfig, EveryRuleAboutTokensIsRead) {
  const auto rules = [](const std::string& content) { return read(content).rules; };
  EXPECT_EQ(rules(R"({"repetition_penalty": 1.2})").repetition_penalty, 1.2);
  EXPECT_EQ(rules(R"({"no_repeat_ngram_size": 3})").no_repeat_ngram_size, 3);
  EXPECT_EQ(rules(R"({"bad_words_ids": [[10], [4, 5], [7]]})").bad_words_ids,
            (Words{{10}, {4, 5}, {7}}));
  EXPECT_EQ(rules(R"({"min_length": 56})").min_length, 56);
  EXPECT_EQ(rules(R"({"min_new_tokens": 5})").min_new_tokens, 5);
  EXPECT_EQ(rules(R"({"forced_bos_token_id": 6})").forced_bos_token_id, 6);
  const auto decay =
      rules(R"({"exponential_decay_length_penalty": [15, 1.6]})").exponential_decay_length_penalty;
  ASSERT_TRUE(decay);
  EXPECT_EQ(decay->start, 15);
  EXPECT_EQ(decay->factor, 1.6);
  EXPECT_EQ(rules(R"({"suppress_tokens": [1, 2]})").suppress_tokens, (std::vector<int64_t>{1, 2}));
  EXPECT_EQ(rules(R"({"begin_suppress_tokens": [8]})").begin_suppress_tokens,
            (std::vector<int64_t>{8}));
  // What the hub's files have where a rule is off.
  const auto none = rules(R"({"repetition_penalty": 1.0, "no_repeat_ngram_size": 0, "min_length": 0,
                              "min_new_tokens": null, "forced_bos_token_id": null, "suppress_tokens": [],
                              "exponential_decay_length_penalty": null})");
  EXPECT_FALSE(none.min_new_tokens || none.forced_bos_token_id ||
               none.exponential_decay_length_penalty);
}

TEST(GenerationConfig, MaxNewTokensReplacesMaxLength) {
  const auto options = read(R"({"max_length": 512, "max_new_tokens": 40})");
  EXPECT_EQ(options.max_new_tokens, 40);
  EXPECT_FALSE(options.max_length);
}

TEST(GenerationConfig, WhatItDoesNotSayStaysAsItIs) {
  const BeamSearchOptions otherwise{.beam_size = 7,
                                    .length_penalty = 0.3,
                                    .early_stopping = EarlyStopping::kNever,
                                    .max_length = 9,
                                    .rules = {.bad_words_ids = {{2}}, .min_length = 4}};
  const TemporaryFolder without;
  for (const auto& options :
       {load_search_options(without.path(), kTokens, otherwise), read("{}", otherwise),
        read(R"({"num_beams": null, "max_length": null, "do_sample": true})", otherwise)}) {
    EXPECT_EQ(options.beam_size, 7);
    EXPECT_EQ(options.length_penalty, 0.3);
    EXPECT_EQ(options.early_stopping, EarlyStopping::kNever);
    EXPECT_EQ(options.max_length, 9);
    EXPECT_EQ(options.rules.bad_words_ids, (Words{{2}}));
    EXPECT_EQ(options.rules.min_length, 4);
    EXPECT_FALSE(options.forced_eos);
  }
}

TEST(GenerationConfig, OneBeamThatAttendOnceWroteForEverySearchSaysNothing) {
  const BeamSearchOptions five{.beam_size = 5};
  EXPECT_EQ(read(R"({"num_beams": 1, "max_length": 30})", five).beam_size, 5);
  EXPECT_EQ(read(R"({"num_beams": 1, "transformers_version": "5.23.0"})", five).beam_size, 1);
  EXPECT_EQ(read(R"({"num_beams": 1, "early_stopping": false})", five).beam_size, 1);
}

TEST(GenerationConfig, ErrorsNameTheFileTheKeyAndTheValue) {
  EXPECT_EQ(error_of(R"({"num_beams": 0})"), "expected num_beams > 0, got 0");
  EXPECT_EQ(error_of(R"({"max_length": -1})"), "expected max_length > 0, got -1");
  EXPECT_EQ(error_of(R"({"num_beams": 2.5})"), "expected num_beams to be an integer, got 2.5");
  EXPECT_EQ(error_of(R"({"length_penalty": "long"})"),
            "expected length_penalty to be a number, got \"long\"");
  EXPECT_EQ(error_of(R"({"early_stopping": "sometimes"})"),
            "expected early_stopping to be true, false or \"never\", got \"sometimes\"");
  EXPECT_EQ(error_of(R"({"eos_token_id": [3, 5]})"),
            "expected eos_token_id to be the model's end token, 3, got [3,5]");
  EXPECT_EQ(error_of(R"({"forced_eos_token_id": 4})"),
            "expected forced_eos_token_id to be the model's end token, 3, got 4");
  EXPECT_EQ(error_of(R"({"bad_words_ids": [3]})"),
            "expected bad_words_ids to be a list of lists of ids, got [3]");
  EXPECT_EQ(error_of(R"({"suppress_tokens": [3, "a"]})"),
            "expected suppress_tokens to be a list of ids, got array");
  EXPECT_EQ(error_of(R"({"repetition_penalty": 0})"),
            "expected a finite repetition_penalty > 0, got 0");
  EXPECT_EQ(error_of(R"({"no_repeat_ngram_size": -1})"),
            "expected no_repeat_ngram_size >= 0, got -1");
  EXPECT_EQ(error_of(R"({"min_new_tokens": -2})"), "expected min_new_tokens >= 0, got -2");
  EXPECT_EQ(
      error_of(R"({"exponential_decay_length_penalty": 1.5})"),
      "expected exponential_decay_length_penalty to be a number of tokens and a factor, got 1.5");
  EXPECT_EQ(error_of("[]"), "expected a JSON object, got array");
  EXPECT_NE(error_of("{\"num_beams\": "), "no error");
}

TEST(GenerationConfig, SavedFoldersSayWhatTheyWouldDo) {
  const TemporaryFolder folder;
  Seq2Seq model(Seq2SeqOptions(11, 11, 12, 3, 1).max_length(30).start_id(4));
  save_model(folder.path(), *model);
  const auto options = load_search_options(folder.path(), model->special_tokens());
  EXPECT_EQ(options.beam_size, 5);
  EXPECT_EQ(options.length_penalty, 1.0);
  EXPECT_EQ(options.early_stopping, EarlyStopping::kFalse);
  EXPECT_EQ(options.max_length, 30);
  EXPECT_TRUE(options.forced_eos);
  EXPECT_FALSE(options.renormalize_logits);
  EXPECT_EQ(options.rules.bad_words_ids, (Words{{10}, {4}}));  // pad and start

  CausalLM language_model(CausalLMOptions(11, 12, 3, 1).bos_id(2));
  save_model(folder.path(), *language_model);
  const auto of_language_model =
      load_search_options(folder.path(), language_model->special_tokens());
  EXPECT_EQ(of_language_model.rules.bad_words_ids, (Words{{2}}));
}

}  // namespace
}  // namespace attend::generation_config_test
