#include <gtest/gtest.h>

#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "attend/checkpoint/generation_config.h"
#include "attend/checkpoint/model_folder.h"
#include "attend/decoding/beam_search.h"
#include "attend/decoding/sampling.h"

// Beam search against transformers' generate: tests/golden/make_generation_fixtures.py.
namespace attend::generation_golden_test {
namespace {

using nlohmann::json;

std::string golden(const std::string& name) {
  return std::string(ATTEND_TEST_GOLDEN_DIR) + "/" + name;
}

TokenRules rules_of(const json& one) {
  const auto given = one.value("rules", json::object());
  TokenRules rules{
      .repetition_penalty = given.value("repetition_penalty", 1.0),
      .no_repeat_ngram_size = given.value("no_repeat_ngram_size", int64_t{0}),
      .bad_words_ids = one.at("bad_words_ids"),
      .min_length = given.value("min_length", int64_t{0}),
      .suppress_tokens = given.value("suppress_tokens", std::vector<int64_t>()),
      .begin_suppress_tokens = given.value("begin_suppress_tokens", std::vector<int64_t>())};
  if (given.contains("min_new_tokens"))
    rules.min_new_tokens = given.at("min_new_tokens").get<int64_t>();
  if (given.contains("forced_bos_token_id")) {
    rules.forced_bos_token_id = given.at("forced_bos_token_id").get<int64_t>();
  }
  if (given.contains("exponential_decay_length_penalty")) {
    const auto& decay = given.at("exponential_decay_length_penalty");
    rules.exponential_decay_length_penalty = {.start = decay.at(0), .factor = decay.at(1)};
  }
  return rules;
}

BeamSearchOptions options_of(const json& given) {
  return {.beam_size = given.at("num_beams"),
          .n_best = given.at("num_beams"),
          .length_penalty = given.at("length_penalty"),
          .early_stopping = given.at("early_stopping") == "never" ? EarlyStopping::kNever
                            : given.at("early_stopping") == true  ? EarlyStopping::kTrue
                                                                  : EarlyStopping::kFalse,
          .max_length_factor = std::numeric_limits<double>::infinity(),
          .max_length = given.at("max_length").get<int64_t>(),
          .forced_eos = given.at("forced_eos"),
          .rules = rules_of(given),
          .renormalize_logits = given.at("renormalize_logits")};
}

torch::Tensor ids_of(const json& expected) {
  std::vector<torch::Tensor> rows;
  for (const auto& row : expected.at("ids")) {
    rows.push_back(torch::tensor(row.get<std::vector<int64_t>>(), torch::kLong));
  }
  return torch::stack(rows);
}

void expect_answers_of_generate(IncrementalModel& model, const json& expected) {
  const auto ids = ids_of(expected);
  for (const auto& one : expected.at("cases")) {
    auto described = one;
    described.erase("found");
    SCOPED_TRACE(described.dump());
    const auto found = beam_search(model, ids, options_of(one), {},
                                   one.value("prefixes", std::vector<std::vector<int64_t>>()));
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

// Drawing from the likeliest token alone is greedy search. The limit is of new tokens, and no end is forced.
void expect_answers_of_generate_when_sampling(IncrementalModel& model, const json& expected) {
  const auto ids = ids_of(expected);
  const auto fed = model.start(ids)->position() + 1;
  int64_t compared = 0;
  for (const auto& one : expected.at("cases")) {
    if (one.at("num_beams") != 1 || one.at("forced_eos") || one.contains("prefixes")) continue;
    SCOPED_TRACE(one.dump());
    const auto found = sample(model, ids,
                              {.top_k = 1,
                               .max_new_tokens = one.at("max_length").get<int64_t>() - fed,
                               .rules = rules_of(one)});
    for (size_t s = 0; s < found.size(); ++s) {
      const auto& best = one.at("found").at(s).at(0);
      EXPECT_EQ(found[s].tokens, best.at("tokens").get<std::vector<int64_t>>()) << s;
      EXPECT_EQ(found[s].ended, best.at("ended").get<bool>()) << s;
    }
    ++compared;
  }
  EXPECT_GE(compared, 8);
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

TEST(GenerationGolden, SamplingTheLikeliestTokenAnswersAsGenerateDoes) {
  auto translator = load_seq2seq(golden("generation/marian"));
  expect_answers_of_generate_when_sampling(*translator, expected_of("marian"));
  auto language_model = load_causal_lm(golden("generation/gpt2"));
  expect_answers_of_generate_when_sampling(*language_model, expected_of("gpt2"));
}

TEST(GenerationGolden, FiltersOfSamplingKeepWhatThoseOfTransformersKeep) {
  const auto expected = expected_of("filters");
  const auto& rows = expected.at("logits");
  for (size_t row = 0; row < rows.size(); ++row) {
    const auto logits = torch::tensor(rows.at(row).get<std::vector<double>>());
    for (const auto& one : expected.at("cases")) {
      SCOPED_TRACE(one.dump());
      const auto filtered = filtered_logits(logits, {.temperature = one.at("temperature"),
                                                     .top_k = one.at("top_k"),
                                                     .top_p = one.at("top_p")});
      const auto kept = filtered.isfinite().nonzero().flatten().to(torch::kCPU).contiguous();
      const auto* first = kept.const_data_ptr<int64_t>();
      EXPECT_EQ(std::vector<int64_t>(first, first + kept.numel()),
                one.at("kept").at(row).get<std::vector<int64_t>>());
    }
  }
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
  EXPECT_EQ(options.rules.bad_words_ids, (std::vector<std::vector<int64_t>>{{22}}));
}

}  // namespace
}  // namespace attend::generation_golden_test
