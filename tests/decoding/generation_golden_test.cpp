#include <gtest/gtest.h>

#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "attend/checkpoint/generation_config.h"
#include "attend/checkpoint/model_folder.h"
#include "attend/decoding/beam_search.h"

// Beam search against transformers' generate: tests/golden/make_generation_fixtures.py.
namespace attend::generation_golden_test {
namespace {

using nlohmann::json;

std::string golden(const std::string& name) {
  return std::string(ATTEND_TEST_GOLDEN_DIR) + "/" + name;
}

BeamSearchOptions options_of(const json& given) {
  BeamSearchOptions options{
      .beam_size = given.at("num_beams"),
      .n_best = given.at("num_beams"),
      .length_penalty = given.at("length_penalty"),
      .early_stopping = given.at("early_stopping") == "never" ? EarlyStopping::kNever
                        : given.at("early_stopping") == true  ? EarlyStopping::kTrue
                                                              : EarlyStopping::kFalse,
      .max_length_factor = std::numeric_limits<double>::infinity(),
      .max_length = given.at("max_length").get<int64_t>(),
      .forced_eos = given.at("forced_eos"),
      .renormalize_logits = given.at("renormalize_logits")};
  for (const auto& word : given.at("bad_words_ids")) options.bad_words_ids.push_back(word.at(0));
  return options;
}

void expect_answers_of_generate(IncrementalModel& model, const json& expected) {
  std::vector<torch::Tensor> rows;
  for (const auto& row : expected.at("ids")) {
    rows.push_back(torch::tensor(row.get<std::vector<int64_t>>(), torch::kLong));
  }
  const auto ids = torch::stack(rows);
  for (const auto& one : expected.at("cases")) {
    auto described = one;
    described.erase("found");
    SCOPED_TRACE(described.dump());
    const auto found = beam_search(model, ids, options_of(one));
    ASSERT_EQ(found.size(), one.at("found").size());
    for (size_t s = 0; s < found.size(); ++s) {
      SCOPED_TRACE(testing::Message() << "sentence " << s);
      const auto& best = one.at("found").at(s);
      ASSERT_EQ(found[s].size(), best.size());
      for (size_t n = 0; n < best.size(); ++n) {
        EXPECT_EQ(found[s][n].tokens, best[n].at("tokens").get<std::vector<int64_t>>()) << n;
        EXPECT_EQ(found[s][n].ended, best[n].at("ended").get<bool>()) << n;
        if (best[n].at("score").is_null()) continue;  // greedy
        EXPECT_NEAR(found[s][n].score, best[n].at("score").get<double>(), 1e-4) << n;
      }
    }
  }
}

json expected_of(const char* model) {
  std::ifstream file(golden("generation.json"));
  return json::parse(file).at(model);
}

TEST(GenerationGolden, TranslatorsAnswerAsGenerateDoesNBestIncluded) {
  auto model = load_seq2seq(golden("generation/marian"));
  expect_answers_of_generate(*model, expected_of("marian"));
}

TEST(GenerationGolden, LanguageModelsAnswerAsGenerateDoesNBestIncluded) {
  auto model = load_causal_lm(golden("generation/gpt2"));
  expect_answers_of_generate(*model, expected_of("gpt2"));
}

TEST(GenerationGolden, AFolderOfTransformersSaysHowToSearch) {
  const auto folder = golden("generation/marian");
  const auto options = load_search_options(folder, load_seq2seq(folder)->special_tokens());
  EXPECT_EQ(options.beam_size, 3);
  EXPECT_EQ(options.early_stopping, EarlyStopping::kTrue);
  EXPECT_EQ(options.length_penalty, 0.6);
  EXPECT_EQ(options.max_length, 9);
  EXPECT_TRUE(options.forced_eos);
  EXPECT_TRUE(options.renormalize_logits);
  EXPECT_EQ(options.bad_words_ids, (std::vector<int64_t>{22}));
}

}  // namespace
}  // namespace attend::generation_golden_test
