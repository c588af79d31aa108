#include "attend/translation/translator.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <thread>

#include "attend/checkpoint/model_folder.h"
#include "attend/file_error.h"
#include "attend/models/recurrent_seq2seq.h"
#include "attend/models/seq2seq.h"
#include "attend/text/subword_training.h"
#include "attend/text/words.h"
#include "support/default_device.h"
#include "support/temporary_folder.h"
#include "support/tensor_assert.h"

namespace attend::translator_test {
namespace {

SubwordTokenizer tokenizer() {
  return train_subwords({"the cat sits on the mat", "a dog sleeps under the old tree",
                         "le chat est assis sur le tapis", "un chien dort sous le vieil arbre"},
                        {.vocab_size = 60});
}

Seq2Seq random_model(const SubwordTokenizer& subwords) {
  torch::manual_seed(11);
  Seq2Seq model(
      Seq2SeqOptions(subwords.vocab_size(), subwords.vocab_size(), 16, 2, 1).max_length(24));
  for (auto& parameter : model->parameters()) {
    const torch::NoGradGuard no_grad;
    parameter.normal_(0.0, 0.5);
  }
  return model;
}

Translator random_translator(const TranslatorOptions& options) {
  const auto subwords = tokenizer();
  return {random_model(subwords), subwords, options, testing_support::test_device()};
}

// As Translator::load makes it.
Translator prepared_translator(TranslatorOptions options,
                               WeightPrecision precision = WeightPrecision::kFloat32) {
  const auto subwords = tokenizer();
  options.precision = precision;
  return {random_model(subwords), subwords, options};
}

void save_random_model(const std::filesystem::path& folder) {
  const auto subwords = tokenizer();
  save_model(folder, random_model(subwords));
  subwords.save(folder);
}

const std::vector<std::string>& texts() {
  static const std::vector<std::string> lines{"the cat", "", "a dog sleeps on the mat", "   ",
                                              "the old old tree"};
  return lines;
}

TEST(Translator, TranslationsBeginWithTheirPrefix) {
  std::vector<Translator> translators{random_translator({.beam_size = 2, .attention = true})};
  if (testing_support::test_device().is_cpu()) {
    translators.push_back(prepared_translator({.beam_size = 2, .attention = true}));
  }
  for (const auto& translator : translators) {
    const std::vector<std::string> prefixes{"le chat", "le", "", "", "un vieil"};
    const auto found = translator.translate(texts(), prefixes);
    const auto without = translator.translate(texts());
    EXPECT_TRUE(found[0].front().text.starts_with("le chat")) << found[0].front().text;
    EXPECT_TRUE(found[4].front().text.starts_with("un vieil")) << found[4].front().text;
    EXPECT_EQ(found[1].front().text, "");  // an empty text
    EXPECT_EQ(found[2].front().text, without[2].front().text);
    EXPECT_EQ(found[0].front().attention.size(1), 2);
    EXPECT_GE(found[0].front().attention.size(0), 2);
  }
}

TEST(Translator, PrefixesThatDoNotFitAreErrors) {
  const auto translator = random_translator({});
  EXPECT_THROW_MESSAGE(translator.translate({"a", "b"}, {"c"}), c10::ValueError,
                       "Translator::translate: expected as many prefixes as texts, got 1 and 2");
  std::string many;
  for (int i = 0; i < 30; ++i) many += "le ";
  const auto tokens = translator.tokenizer().encode_target(many).size() - 1;
  EXPECT_THROW_MESSAGE(translator.translate({"a"}, {many}), c10::ValueError,
                       ("Translator::translate: expected prefixes of less than 24 tokens, got " +
                        std::to_string(tokens))
                           .c_str());
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

// A lexicon of which each token may become the next one or the one after.
std::filesystem::path write_lexicon(const std::filesystem::path& path) {
  const auto subwords = tokenizer();
  const auto size = subwords.vocab_size();
  Lexicon lexicon;
  lexicon.of_source.resize(static_cast<size_t>(size));
  for (int64_t id = 2; id + 3 < size; ++id) {
    lexicon.of_source[static_cast<size_t>(id)] = {{id + 1, 0.5}, {id + 2, 0.25}};
  }
  save_lexicon(path, lexicon, subwords);
  return path;
}

TEST(Translator, ChoosesAmongTheTokensOfAShortlist) {
  const testing_support::TemporaryFolder folder;
  const auto file = write_lexicon(folder.path() / "lexicon");
  const ShortlistOptions shortlist{.file = file, .frequent = 3, .best = 2};
  const auto subwords = tokenizer();
  const auto allowed = target_shortlist(load_lexicon(file, subwords), subwords, shortlist);
  size_t changed = 0;
  for (const auto precision :
       {WeightPrecision::kFloat32, WeightPrecision::kBFloat16, WeightPrecision::kInt8}) {
    const auto plain = prepared_translator({.beam_size = 3}, precision);
    const auto translator = prepared_translator(
        {.beam_size = 3, .batch_tokens = 64, .shortlist = shortlist}, precision);
    const auto together = translator.translate(texts());
    for (size_t i = 0; i < texts().size(); ++i) {
      const auto alone = translator.translate(texts()[i]);
      EXPECT_EQ(together[i].front().text, alone.text) << i;
      EXPECT_EQ(together[i].front().score, alone.score) << i;
      changed += plain.translate(texts()[i]).text != alone.text ? 1 : 0;
      const auto chosen = allowed(subwords.encode_source(texts()[i]));
      std::string letters;  // of the allowed tokens
      for (const auto id : chosen) letters += subwords.target_vocabulary().piece(id);
      for (const auto letter : alone.text) {
        EXPECT_TRUE(letter == ' ' || letters.find(letter) != std::string::npos) << alone.text;
      }
    }
  }
  EXPECT_GT(changed, 0U);
}

TEST(Translator, LoadsItsFoldersShortlist) {
  const testing_support::TemporaryFolder folder, elsewhere;
  save_random_model(folder.path());
  const TranslatorOptions options{.shortlist = ShortlistOptions{.frequent = 1, .best = 1}};
  EXPECT_THROW(Translator::load(folder.path(), options), FileError);
  auto named = options;
  named.shortlist->file = write_lexicon(elsewhere.path() / "other");
  const auto expected = Translator::load(folder.path(), named).translate(texts());
  write_lexicon(folder.path() / kLexiconFile);
  const auto found = Translator::load(folder.path(), options).translate(texts());
  for (size_t i = 0; i < texts().size(); ++i) EXPECT_EQ(found[i][0].text, expected[i][0].text);
}

TEST(Translator, AShortlistNeedsAPreparedModel) {
  const auto subwords = tokenizer();
  EXPECT_THROW_MESSAGE(
      Translator(random_model(subwords), subwords, {.shortlist = ShortlistOptions{.file = "x"}}),
      c10::ValueError, "Translator: expected a precision with a shortlist, got none");
  EXPECT_THROW_MESSAGE(prepared_translator({.shortlist = ShortlistOptions{}}), c10::ValueError,
                       "Translator: expected a file of a shortlist, got none");
  const testing_support::TemporaryFolder folder;
  save_model(folder.path(), RecurrentSeq2Seq(RecurrentSeq2SeqOptions(subwords.vocab_size(),
                                                                     subwords.vocab_size(), 8)));
  subwords.save(folder.path());
  EXPECT_THROW_MESSAGE(
      Translator::load(folder.path(), {.shortlist = ShortlistOptions{}}), c10::ValueError,
      "Translator, with a shortlist: expected a Seq2Seq or a CausalLM, got another model");
}

class ManyTexts : public testing::Test {
 protected:
  void SetUp() override {
    const std::vector<std::string> words{"the", "cat", "a", "dog", "old", "tree", "on", "mat"};
    for (size_t i = 0; i < 90; ++i) {
      std::string text;
      for (size_t w = 0; w < i % 9; ++w) text += words[(i + w * w) % words.size()] + " ";
      many_.push_back(text);
    }
  }
  void TearDown() override { torch::set_num_threads(threads_); }

  void expect_same(const std::vector<std::vector<Translation>>& got,
                   const std::vector<std::vector<Translation>>& expected) const {
    ASSERT_EQ(got.size(), many_.size());
    for (size_t i = 0; i < many_.size(); ++i) {
      EXPECT_EQ(got[i].front().text, expected[i].front().text) << i;
      EXPECT_NEAR(got[i].front().score, expected[i].front().score, 1e-4) << i;
    }
  }

  std::vector<std::string> many_;

 private:
  int threads_ = torch::get_num_threads();
};

TEST_F(ManyTexts, AreTranslatedTheSameByAnyNumberOfThreads) {
  const auto translator = random_translator({.beam_size = 2});
  torch::set_num_threads(1);
  const auto expected = translator.translate(many_);
  for (const int threads : {2, 5}) {
    torch::set_num_threads(threads);
    expect_same(translator.translate(many_), expected);
    EXPECT_EQ(torch::get_num_threads(), threads);
  }
}

TEST_F(ManyTexts, AreTranslatedForManyCallersAtATime) {
  const auto translator = random_translator({.beam_size = 2});
  torch::set_num_threads(2);
  const auto expected = translator.translate(many_);
  std::vector<std::vector<std::vector<Translation>>> got(3);
  {
    std::vector<std::jthread> callers;
    for (auto& mine : got) callers.emplace_back([&] { mine = translator.translate(many_); });
  }
  for (const auto& mine : got) expect_same(mine, expected);
}

// Batches are filled while others decode: which texts meet depends on the threads and their pace.
TEST_F(ManyTexts, HaveTheBitsThatTheyHaveAloneWhereTheModelIsPrepared) {
  for (const int64_t beam_size : {1, 3}) {
    for (const int64_t batch_tokens : {20, 4096}) {
      const auto translator = prepared_translator(
          {.beam_size = beam_size, .batch_tokens = batch_tokens, .attention = true});
      for (const int threads : {1, 2, 5}) {
        torch::set_num_threads(threads);
        const auto got = translator.translate(many_);
        for (size_t i = 0; i < many_.size(); ++i) {
          const auto alone = translator.translate(many_[i]);
          EXPECT_EQ(got[i].front().text, alone.text) << i;
          EXPECT_EQ(got[i].front().score, alone.score) << i;
          EXPECT_EQ(got[i].front().attention.defined(), alone.attention.defined()) << i;
          if (!alone.attention.defined()) continue;
          // Subwords are merged by products of LibTorch, which depend on where a matrix lies.
          EXPECT_TENSOR_NEAR(got[i].front().attention, alone.attention, 1e-6);
        }
      }
    }
  }
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

// A model that ends every translation at once.
Translator silent_translator(const TranslatorOptions& options) {
  const auto subwords = tokenizer();
  Seq2Seq model(Seq2SeqOptions(subwords.vocab_size(), subwords.vocab_size(), 16, 2, 1)
                    .max_length(8)
                    .dropout(0.0));
  const torch::NoGradGuard no_grad;
  for (auto& parameter : model->parameters()) parameter.zero_();
  model->final_logits_bias[0][subwords.eos_id()] = 6.0;
  return {model.ptr(), subwords, options};
}

TEST(Translator, PartsWithAnEmptyTranslationCountInTheSums) {
  for (const bool attention : {false, true}) {
    const auto translator = silent_translator({.beam_size = 1, .attention = attention});
    const auto one = translator.translate("the");
    EXPECT_EQ(one.text, "");
    EXPECT_LT(one.log_probability, -0.01);
    std::string text;
    while (translator.tokenizer().encode_source(text).size() <= 2 * 7) text += "the cat ";
    const auto three = translator.translate(text);  // of at most 7 subwords and the end each
    EXPECT_EQ(three.text, "");
    EXPECT_NEAR(three.log_probability, 3 * one.log_probability, 1e-5);
    EXPECT_NEAR(three.score, 3 * one.score, 1e-5);
  }
}

TEST(Translator, AModelWithSpareIdsNeverWritesThem) {
  const auto subwords = tokenizer();
  const auto size = subwords.vocab_size();
  torch::manual_seed(3);
  Seq2Seq model(Seq2SeqOptions(size + 7, size + 7, 16, 2, 1)
                    .max_length(24)
                    .pad_id(subwords.pad_id())
                    .start_id(subwords.pad_id()));
  {
    const torch::NoGradGuard no_grad;
    model->final_logits_bias.narrow(1, size, 7).fill_(50.0);  // by far the likeliest
    const auto word = subwords.encode_target("cat").front();
    model->final_logits_bias.select(1, word).fill_(20.0);  // the likeliest of those with a text
  }
  for (const int64_t beam_size : {1, 3}) {
    const Translator translator(model.ptr(), subwords,
                                {.beam_size = beam_size, .n_best = beam_size, .attention = true});
    for (const auto& translations : translator.translate(texts())) {
      for (const auto& translation : translations) {
        // Of the ids that are left, which share all of the probability.
        EXPECT_GE(translation.log_probability, -100.0);
      }
    }
    EXPECT_FALSE(translator.translate("the cat").text.empty());
  }
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

// The scores of the best translations.
std::vector<double> scores_of(const Translator& translator) {
  std::vector<double> scores;
  for (const auto& translations : translator.translate(texts())) {
    scores.push_back(translations.front().score);
  }
  return scores;
}

TEST(Translator, TheFolderSaysHowToSearchWhereTheCallerDoesNot) {
  const testing_support::TemporaryFolder folder;
  save_random_model(folder.path());
  const auto loaded = [&](const TranslatorOptions& options) {
    return scores_of(Translator::load(folder.path(), options));
  };
  // attend's own folder says what attend does without one.
  EXPECT_EQ(loaded({}), scores_of(prepared_translator({})));

  folder.write("generation_config.json",
               R"({"num_beams": 2, "length_penalty": 0.0, "early_stopping": true, "max_length": 24,
                   "forced_eos_token_id": 0, "eos_token_id": 0})");
  const TranslatorOptions told{
      .beam_size = 2, .length_penalty = 0.0, .early_stopping = EarlyStopping::kTrue};
  EXPECT_EQ(loaded({}), scores_of(prepared_translator(told)));
  EXPECT_NE(loaded({}), scores_of(prepared_translator({})));
  const TranslatorOptions other{
      .beam_size = 4, .length_penalty = 0.5, .early_stopping = EarlyStopping::kNever};
  EXPECT_EQ(loaded(other), scores_of(prepared_translator(other)));
  // As many as asked for need as wide a beam.
  EXPECT_EQ(Translator::load(folder.path(), {.n_best = 3}).translate(texts()).at(0).size(), 3U);

  folder.write("generation_config.json", R"({"max_length": 3, "forced_eos_token_id": 0})");
  for (const auto& subwords : Translator::load(folder.path()).translate(texts())) {
    EXPECT_LE(split_words(subwords.front().text).size(), 1U);  // start, one token, end
  }
  folder.write("generation_config.json", R"({"num_beams": true})");
  EXPECT_THROW(Translator::load(folder.path()), FileError);
}

TEST(Translator, RulesOfTheCallerComeBeforeThoseOfTheFolder) {
  const testing_support::TemporaryFolder folder;
  save_random_model(folder.path());
  folder.write(
      "generation_config.json",
      R"({"num_beams": 2, "max_length": 24, "forced_eos_token_id": 0, "repetition_penalty": 1.05,
                   "no_repeat_ngram_size": 2, "min_new_tokens": 12})");
  const auto loaded = [&](const TranslatorOptions& options) {
    return scores_of(Translator::load(folder.path(), options));
  };
  const TranslatorOptions told{
      .beam_size = 2, .repetition_penalty = 1.05, .no_repeat_ngram_size = 2, .min_length = 13};
  EXPECT_EQ(loaded({}), scores_of(prepared_translator(told)));
  auto other = told;
  other.repetition_penalty = 1.0;
  EXPECT_EQ(loaded({.repetition_penalty = 1.0}), scores_of(prepared_translator(other)));
  EXPECT_NE(scores_of(prepared_translator(other)), loaded({}));
  other = told;
  other.no_repeat_ngram_size = 0;
  EXPECT_EQ(loaded({.no_repeat_ngram_size = 0}), scores_of(prepared_translator(other)));
  EXPECT_NE(scores_of(prepared_translator(other)), loaded({}));
}

TEST(Translator, ATranslationMayBeCutByTheLimitAndStillHaveAnAlignment) {
  const testing_support::TemporaryFolder folder;
  save_random_model(folder.path());
  folder.write("generation_config.json", R"({"max_new_tokens": 2})");
  const auto translator = Translator::load(folder.path(), {.attention = true});
  for (const auto& translations : translator.translate(texts())) {
    const auto& one = translations.front();
    if (!one.attention.defined()) continue;
    EXPECT_EQ(one.attention.size(0), static_cast<int64_t>(split_words(one.text).size()));
  }
}

TEST(Translator, APreparedModelTranslatesAsTheModule) {
  if (!testing_support::test_device().is_cpu()) GTEST_SKIP() << "models are prepared on the CPU";
  for (const int64_t beam_size : {1, 3}) {
    const TranslatorOptions options{.beam_size = beam_size, .attention = true};
    const auto expected = random_translator(options).translate(texts());
    const auto found = prepared_translator(options).translate(texts());
    for (size_t i = 0; i < texts().size(); ++i) {
      EXPECT_EQ(found[i].front().text, expected[i].front().text);
      EXPECT_NEAR(found[i].front().score, expected[i].front().score, 1e-4);
      EXPECT_EQ(found[i].front().alignment, expected[i].front().alignment);
    }
  }
  const auto greedy = prepared_translator({.beam_size = 1});
  const auto without_scores = prepared_translator({.beam_size = 1, .scores = false});
  for (const auto& text : texts()) {
    const auto found = without_scores.translate(text);
    EXPECT_EQ(found.text, greedy.translate(text).text);
    EXPECT_TRUE(found.source_tokens == 0 || std::isnan(found.score)) << text;
  }
  const auto exact = scores_of(prepared_translator({}));
  EXPECT_NE(scores_of(prepared_translator({}, WeightPrecision::kBFloat16)), exact);
  EXPECT_NE(scores_of(prepared_translator({}, WeightPrecision::kInt8)), exact);
}

TEST(Translator, CapturedStepsTranslateAsTheModule) {
  for (const int64_t beam_size : {1, 3}) {
    TranslatorOptions options{.beam_size = beam_size, .batch_tokens = 14, .attention = true};
    const auto expected = random_translator(options).translate(texts());
    options.graphed = true;
    const auto found = random_translator(options).translate(texts());  // which join and leave
    for (size_t i = 0; i < texts().size(); ++i) {
      EXPECT_EQ(found[i].front().text, expected[i].front().text);
      EXPECT_NEAR(found[i].front().score, expected[i].front().score, 1e-4);
      EXPECT_EQ(found[i].front().alignment, expected[i].front().alignment);
    }
  }
  EXPECT_THROW_MESSAGE(prepared_translator({.graphed = true}), c10::ValueError,
                       "Translator: expected no precision with graphed, got one");
  const auto subwords = tokenizer();
  const auto size = subwords.vocab_size();
  EXPECT_THROW_MESSAGE(Translator(RecurrentSeq2Seq(RecurrentSeq2SeqOptions(size, size, 8)),
                                  subwords, {.graphed = true}),
                       c10::ValueError,
                       "GraphedDecoder: expected a Seq2Seq or CausalLM, got another model");
}

TEST(Translator, APrecisionNeedsAModelThatCanBePrepared) {
  const auto subwords = tokenizer();
  const TranslatorOptions options{.precision = WeightPrecision::kInt8};
  const auto size = subwords.vocab_size();
  EXPECT_THROW_MESSAGE(
      Translator(RecurrentSeq2Seq(RecurrentSeq2SeqOptions(size, size, 8)), subwords, options),
      c10::ValueError,
      "prepare_for_inference: expected a Seq2Seq or a CausalLM, got another model");
  EXPECT_THROW_MESSAGE(Translator(random_model(subwords), subwords, options, torch::Device("meta")),
                       c10::ValueError,
                       "Translator: expected the device cpu with a precision, got meta");
}

TEST(Translator, OptionsOutOfTheirRangeAreRefusedBeforeAnyText) {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THROW_MESSAGE(random_translator({.beam_size = 0}), c10::ValueError,
                       "Translator: expected beam_size > 0, got 0");
  EXPECT_THROW_MESSAGE(random_translator({.length_penalty = kNan}), c10::ValueError,
                       "beam_search: expected a finite length_penalty, got nan");
  EXPECT_THROW_MESSAGE(
      random_translator({.max_length_factor = kNan}), c10::ValueError,
      "beam_search: expected max_length_factor >= 0 and max_length_extra >= 1, got "
      "nan and 10");
}

TEST(Translator, ALimitWithoutBoundIsTheModels) {
  const auto text = [](double factor) {
    return random_translator({.beam_size = 1, .max_length_factor = factor})
        .translate("a dog sleeps on the mat")
        .text;
  };
  EXPECT_NE(text(100), "");
  EXPECT_EQ(text(std::numeric_limits<double>::infinity()), text(100));
  EXPECT_EQ(text(1e19), text(100));
}

TEST(Translator, SplitsAtWhitespaceOfAnyLength) {
  EXPECT_EQ(split_words("  le\tchat  dort \n"), (std::vector<std::string>{"le", "chat", "dort"}));
  EXPECT_TRUE(split_words(" \t ").empty());
}

}  // namespace
}  // namespace attend::translator_test
