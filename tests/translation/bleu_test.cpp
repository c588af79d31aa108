#include "attend/translation/bleu.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace attend::bleu_test {
namespace {

using Lines = std::vector<std::string>;

nlohmann::json read_golden() {
  return nlohmann::json::parse(std::ifstream(ATTEND_TEST_GOLDEN_DIR "/metrics.json"));
}

BleuOptions read_options(const nlohmann::json& settings) {
  const std::map<std::string, BleuTokenizer> tokenizers{{"none", BleuTokenizer::kNone},
                                                        {"13a", BleuTokenizer::k13a},
                                                        {"intl", BleuTokenizer::kIntl},
                                                        {"char", BleuTokenizer::kChar}};
  const std::map<std::string, BleuSmoothing> smoothings{{"none", BleuSmoothing::kNone},
                                                        {"floor", BleuSmoothing::kFloor},
                                                        {"add-k", BleuSmoothing::kAddK},
                                                        {"exp", BleuSmoothing::kExp}};
  BleuOptions options{.tokenizer = tokenizers.at(settings.at("tokenize")),
                      .lowercase = settings.at("lowercase"),
                      .smoothing = smoothings.at(settings.at("smooth_method"))};
  if (settings.contains("smooth_value")) options.smoothing_value = settings["smooth_value"];
  return options;
}

std::string refusal(const std::function<void()>& call) {
  try {
    call();
  } catch (const c10::ValueError& error) {
    return error.what_without_backtrace();
  }
  return "accepted";
}

const Lines kHypotheses{"The small boat crosses the lake at dawn.", "Nobody saw the 3,5 m fish!",
                        "Bread, cheese and a bottle of wine."};
const Lines kReferences{"A small boat crosses the lake at dawn.", "Nobody saw the 3.5 m fish!",
                        "Bread and cheese, and a bottle of wine."};

TEST(BleuGolden, EqualsSacreBleu) {
  const auto golden = read_golden();
  for (const auto& expected : golden.at("bleu")) {
    SCOPED_TRACE(expected.dump());
    const auto& corpus = golden.at("corpora").at(expected.at("corpus"));
    const auto options = read_options(expected);
    const auto actual = corpus_bleu(corpus.at("hypotheses"), corpus.at("references"), options);
    EXPECT_NEAR(actual.score, expected.at("score").get<double>(), 1e-9);
    EXPECT_NEAR(actual.brevity_penalty, expected.at("brevity_penalty").get<double>(), 1e-12);
    EXPECT_EQ(actual.sys_len, expected.at("sys_len").get<int64_t>());
    EXPECT_EQ(actual.ref_len, expected.at("ref_len").get<int64_t>());
    EXPECT_NEAR(actual.ratio, expected.at("ratio").get<double>(), 1e-12);
    for (size_t n = 0; n < actual.precisions.size(); ++n) {
      EXPECT_NEAR(actual.precisions[n], expected.at("precisions")[n].get<double>(), 1e-9);
    }
    EXPECT_EQ(bleu_signature(options),
              expected.at("signature").get<std::string>() + "|version:attend-0.1.0");
  }
}

// Matches 4/5, 2/4, 1/3 and none of 2, which counts as half a match.
TEST(Bleu, ASmallCaseByHand) {
  const auto result = corpus_bleu({"a b c x d"}, {"a b c d e"});
  EXPECT_NEAR(result.precisions[0], 80.0, 1e-12);
  EXPECT_NEAR(result.precisions[1], 50.0, 1e-12);
  EXPECT_NEAR(result.precisions[2], 100.0 / 3.0, 1e-12);
  EXPECT_NEAR(result.precisions[3], 25.0, 1e-12);
  EXPECT_EQ(result.brevity_penalty, 1.0);
  EXPECT_NEAR(result.score, std::pow(80.0 * 50.0 * 100.0 / 3.0 * 25.0, 0.25), 1e-12);
}

TEST(Bleu, TheBrevityPenaltyIsOfTheCorpus) {
  const auto result = corpus_bleu({"a b c d", "e f g h i j"}, {"a b c d e f", "e f g h i j"});
  EXPECT_EQ(result.sys_len, 10);
  EXPECT_EQ(result.ref_len, 12);
  EXPECT_NEAR(result.brevity_penalty, std::exp(1.0 - 12.0 / 10.0), 1e-15);
  EXPECT_NEAR(result.score, 100.0 * result.brevity_penalty, 1e-12);
}

TEST(Bleu, EqualCorporaScore100) {
  for (const auto tokenizer :
       {BleuTokenizer::kNone, BleuTokenizer::k13a, BleuTokenizer::kIntl, BleuTokenizer::kChar}) {
    for (const auto smoothing :
         {BleuSmoothing::kNone, BleuSmoothing::kFloor, BleuSmoothing::kAddK, BleuSmoothing::kExp}) {
      const BleuOptions options{.tokenizer = tokenizer, .smoothing = smoothing};
      EXPECT_NEAR(corpus_bleu(kReferences, kReferences, options).score, 100.0, 1e-9)
          << bleu_signature(options);
    }
  }
}

TEST(Bleu, TheOrderOfThePairsDoesNotMatter) {
  const auto score = corpus_bleu(kHypotheses, kReferences).score;
  EXPECT_GT(score, 0.0);
  EXPECT_LT(score, 100.0);
  auto hypotheses = kHypotheses, references = kReferences;
  std::reverse(hypotheses.begin(), hypotheses.end());
  std::reverse(references.begin(), references.end());
  EXPECT_EQ(corpus_bleu(hypotheses, references).score, score);
  EXPECT_NE(corpus_bleu(hypotheses, kReferences).score, score);
}

TEST(Bleu, NothingInCommonScoresZeroWithAnySmoothing) {
  for (const auto smoothing :
       {BleuSmoothing::kNone, BleuSmoothing::kFloor, BleuSmoothing::kAddK, BleuSmoothing::kExp}) {
    EXPECT_EQ(corpus_bleu({"a b c d e"}, {"v w x y z"}, {.smoothing = smoothing}).score, 0.0);
    EXPECT_EQ(corpus_bleu({""}, {"v w x y z"}, {.smoothing = smoothing}).score, 0.0);
    EXPECT_EQ(corpus_bleu({""}, {""}, {.smoothing = smoothing}).score, 0.0);
  }
}

TEST(Bleu, CarriageReturnsAtTheEndOfALineDoNotCount) {
  EXPECT_NEAR(corpus_bleu({"one two three four\r\n"}, {"one two three four"}).score, 100.0, 1e-9);
}

TEST(Bleu, UnequalLineCountsAreAnErrorThatNamesBoth) {
  EXPECT_EQ(refusal([] {
              corpus_bleu(kHypotheses, {"a", "b"});
            }),
            "corpus_bleu: expected as many hypotheses as references, got 3 hypotheses and 2 "
            "references");
  EXPECT_EQ(refusal([] { corpus_bleu(Lines{}, Lines{}); }),
            "corpus_bleu: expected at least one line, got none");
}

TEST(Bleu, TextThatIsNotUtf8IsAnErrorThatNamesTheLine) {
  EXPECT_EQ(refusal([] {
              corpus_bleu({"a", "b\xff"}, {"a", "b"});
            }),
            "corpus_bleu: expected hypothesis 2 to be UTF-8, got another byte at offset 1");
  EXPECT_EQ(refusal([] { corpus_bleu({"a"}, {"\xe4\xb8"}); }),
            "corpus_bleu: expected reference 1 to be UTF-8, got another byte at offset 0");
  EXPECT_EQ(refusal([] { corpus_bleu({"\xed\xa0\x80"}, {"surrogate"}); }),
            "corpus_bleu: expected hypothesis 1 to be UTF-8, got another byte at offset 0");
}

TEST(Bleu, SmoothingValuesThatDoNotFitAreErrors) {
  const auto with = [](BleuSmoothing smoothing, double value) {
    const BleuOptions options{.smoothing = smoothing, .smoothing_value = value};
    const auto message = refusal([&] { corpus_bleu({"a"}, {"a"}, options); });
    EXPECT_EQ(refusal([&] { bleu_signature(options); }), message);
    return message;
  };
  EXPECT_EQ(with(BleuSmoothing::kExp, 0.5),
            "BleuOptions: expected no smoothing_value with smoothing exp, got 0.5");
  EXPECT_EQ(with(BleuSmoothing::kFloor, 0.0),
            "BleuOptions: expected a finite smoothing_value > 0 with smoothing floor, got 0");
  EXPECT_EQ(with(BleuSmoothing::kAddK, NAN),
            "BleuOptions: expected a finite smoothing_value > 0 with smoothing add-k, got nan");
}

}  // namespace
}  // namespace attend::bleu_test
