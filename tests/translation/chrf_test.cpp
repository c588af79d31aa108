#include "attend/translation/chrf.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <algorithm>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace attend::chrf_test {
namespace {

using Lines = std::vector<std::string>;

nlohmann::json read_golden() {
  return nlohmann::json::parse(std::ifstream(ATTEND_TEST_GOLDEN_DIR "/metrics.json"));
}

std::string refusal(const std::function<void()>& call) {
  try {
    call();
  } catch (const c10::ValueError& error) {
    return error.what_without_backtrace();
  }
  return "accepted";
}

const Lines kHypotheses{"A red kite over the hill", "(yes), we can!", "le thé, s'il vous plaît"};
const Lines kReferences{"The red kite above a hill", "(Yes) we can.", "du thé, s'il te plaît"};

TEST(ChrfGolden, EqualsSacreBleu) {
  const auto golden = read_golden();
  for (const auto& expected : golden.at("chrf")) {
    SCOPED_TRACE(expected.dump());
    const auto& corpus = golden.at("corpora").at(expected.at("corpus"));
    const ChrfOptions options{.char_order = expected.at("char_order"),
                              .word_order = expected.at("word_order"),
                              .beta = expected.at("beta"),
                              .lowercase = expected.at("lowercase")};
    const auto actual = corpus_chrf(corpus.at("hypotheses"), corpus.at("references"), options);
    EXPECT_NEAR(actual.score, expected.at("score").get<double>(), 1e-9);
    EXPECT_EQ(chrf_signature(options),
              expected.at("signature").get<std::string>() + "|version:attend-0.1.0");
  }
}

// Characters: 2 of 3 in both; pairs: 1 of 2 (ab) in both. The mean of both is 7/12, and so is F.
TEST(Chrf, ASmallCaseByHand) {
  EXPECT_NEAR(corpus_chrf({"a bc"}, {"ab d"}, {.char_order = 2}).score, 100.0 * 7.0 / 12.0, 1e-12);
}

TEST(Chrf, RecallCountsMoreThanPrecision) {
  const Lines brief{"abc"}, full{"abcdef"};
  const auto low_recall = corpus_chrf(brief, full, {.char_order = 1}).score;
  const auto low_precision = corpus_chrf(full, brief, {.char_order = 1}).score;
  EXPECT_NEAR(low_recall, 100.0 * 5.0 * 0.5 / (4.0 + 0.5), 1e-12);
  EXPECT_NEAR(low_precision, 100.0 * 5.0 * 0.5 / (4.0 * 0.5 + 1.0), 1e-12);
  EXPECT_LT(low_recall, low_precision);
}

TEST(Chrf, EqualCorporaScore100) {
  EXPECT_NEAR(corpus_chrf(kReferences, kReferences).score, 100.0, 1e-9);
  EXPECT_NEAR(corpus_chrf(kReferences, kReferences, {.word_order = 2}).score, 100.0, 1e-9);
  EXPECT_NEAR(corpus_chrf({"é"}, {"é"}).score, 100.0, 1e-9);
}

TEST(Chrf, TheOrderOfThePairsDoesNotMatter) {
  const ChrfOptions options{.word_order = 2};
  const auto score = corpus_chrf(kHypotheses, kReferences, options).score;
  EXPECT_GT(score, 0.0);
  EXPECT_LT(score, 100.0);
  auto hypotheses = kHypotheses, references = kReferences;
  std::reverse(hypotheses.begin(), hypotheses.end());
  std::reverse(references.begin(), references.end());
  EXPECT_EQ(corpus_chrf(hypotheses, references, options).score, score);
  EXPECT_NE(corpus_chrf(hypotheses, kReferences, options).score, score);
}

TEST(Chrf, WhiteSpaceDoesNotCountForCharacters) {
  EXPECT_NEAR(corpus_chrf({" a bc\u00a0d e "}, {"abcde"}).score, 100.0, 1e-9);
}

TEST(Chrf, NothingInCommonScoresZero) {
  EXPECT_EQ(corpus_chrf({"abc"}, {"xyz"}).score, 0.0);
  EXPECT_EQ(corpus_chrf({""}, {"xyz"}).score, 0.0);
  EXPECT_EQ(corpus_chrf({"abc"}, {""}).score, 0.0);
  EXPECT_EQ(corpus_chrf({""}, {""}, {.word_order = 2}).score, 0.0);
}

TEST(Chrf, UnequalLineCountsAreAnErrorThatNamesBoth) {
  EXPECT_EQ(refusal([] {
              corpus_chrf({"a"}, {"a", "b"});
            }),
            "corpus_chrf: expected as many hypotheses as references, got 1 hypotheses and 2 "
            "references");
  EXPECT_EQ(refusal([] { corpus_chrf(Lines{}, Lines{}); }),
            "corpus_chrf: expected at least one line, got none");
}

TEST(Chrf, TextThatIsNotUtf8IsAnErrorThatNamesTheLine) {
  EXPECT_EQ(refusal([] {
              corpus_chrf({"a", "b"}, {"a", "b\xc3"});
            }),
            "corpus_chrf: expected reference 2 to be UTF-8, got another byte at offset 1");
}

TEST(Chrf, OptionsOutOfRangeAreErrors) {
  const auto with = [](const ChrfOptions& options) {
    const auto message = refusal([&] { corpus_chrf({"a"}, {"a"}, options); });
    EXPECT_EQ(refusal([&] { chrf_signature(options); }), message);
    return message;
  };
  EXPECT_EQ(with({.char_order = 0}), "ChrfOptions: expected char_order > 0, got 0");
  EXPECT_EQ(with({.word_order = -1}), "ChrfOptions: expected word_order >= 0, got -1");
  EXPECT_EQ(with({.beta = 0}), "ChrfOptions: expected beta > 0, got 0");
}

}  // namespace
}  // namespace attend::chrf_test
