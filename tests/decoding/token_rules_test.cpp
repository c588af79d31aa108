#include "attend/decoding/token_rules.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <set>
#include <string>

#include "attend/decoding/beam_search.h"
#include "attend/decoding/continuous_beam_search.h"
#include "attend/decoding/sampling.h"
#include "attend/models/causal_lm.h"
#include "attend/models/seq2seq.h"
#include "support/default_device.h"
#include "support/module_checks.h"
#include "support/tensor_assert.h"

// Rules about tokens and prefixes, by hand. Against transformers: generation_golden_test.cpp.
namespace attend::token_rules_test {
namespace {

using Tokens = std::vector<int64_t>;

// The logits are a function of how many tokens were fed. 6 is the start and padding token, 0 ends.
class Script : public IncrementalModel {
 public:
  using Logits = std::function<std::vector<float>(int64_t fed)>;
  explicit Script(Logits logits) : logits_(std::move(logits)) {}

  SpecialTokenIds special_tokens() const override { return {6, 0, 6}; }
  int64_t max_target_length() const override { return 12; }

  struct State : DecoderState {
    int64_t rows = 0, steps = 0;
    int64_t position() const override { return steps; }
    void reorder(const torch::Tensor& kept, const torch::Tensor&) override { rows = kept.size(0); }
  };
  std::unique_ptr<DecoderState> start(const torch::Tensor& source, const AttentionMask&) override {
    auto state = std::make_unique<State>();
    state->rows = source.size(0);
    return state;
  }
  StepOutput step(const torch::Tensor&, DecoderState& state, bool want_alignment) override {
    auto& own = dynamic_cast<State&>(state);
    const auto row = torch::tensor(logits_(++own.steps), torch::kFloat);
    StepOutput output{row.expand({own.rows, -1}).clone(), {}};
    if (want_alignment)
      output.alignment = torch::full({own.rows, 2}, static_cast<double>(own.steps));
    return output;
  }

 private:
  Logits logits_;
};

torch::Tensor sources(int64_t count = 1) { return torch::full({count, 2}, 3, torch::kLong); }

// Always in this order: 1, 2, 3, 4, the end, 5.
std::vector<float> in_order(int64_t) { return {1.0F, 6.0F, 5.0F, 4.0F, 3.0F, -2.0F, 9.0F}; }

Tokens greedy(const TokenRules& rules, int64_t tokens = 5, Script::Logits logits = in_order) {
  Script model(std::move(logits));
  const auto found =
      beam_search(model, sources(), {.max_new_tokens = tokens, .rules = rules}).at(0).at(0);
  // Sampling from the likeliest alone is the same.
  const auto drawn =
      sample(model, sources(), {.top_k = 1, .max_new_tokens = tokens, .rules = rules}).at(0);
  EXPECT_EQ(drawn.tokens, found.tokens);
  EXPECT_EQ(drawn.ended, found.ended);
  return found.tokens;
}

TEST(TokenRules, WithoutAnyTheLikeliestTokenIsRepeated) {
  EXPECT_EQ(greedy({}), (Tokens{1, 1, 1, 1, 1}));
}

TEST(TokenRules, NGramsAppearOnce) {
  EXPECT_EQ(greedy({.no_repeat_ngram_size = 1}), (Tokens{1, 2, 3, 4}));  // then the end
  EXPECT_EQ(greedy({.no_repeat_ngram_size = 2}), (Tokens{1, 1, 2, 1, 3}));
  EXPECT_EQ(greedy({.no_repeat_ngram_size = 3}, 7), (Tokens{1, 1, 1, 2, 1, 1, 3}));
  EXPECT_EQ(greedy({.no_repeat_ngram_size = 9}), (Tokens{1, 1, 1, 1, 1}));
}

TEST(TokenRules, BadWordsAreSequences) {
  EXPECT_EQ(greedy({.bad_words_ids = {{1, 1}, {1, 2, 1}}}), (Tokens{1, 2, 2, 1, 2}));
  EXPECT_EQ(greedy({.bad_words_ids = {{1}, {2}, {3}, {4}, {0}}}),
            (Tokens{}));  // the end is no word
  // The end as a word's last token is banned, here behind the start token and behind 5.
  EXPECT_EQ(greedy({.bad_words_ids = {{1}, {2}, {3}, {4}, {5, 0}, {6, 0}}}, 2), (Tokens{5, 5}));
}

TEST(TokenRules, TheLeastLengthCountsTheStartTokenAndNewTokensDoNot) {
  const auto ends = [](int64_t) { return std::vector<float>{7, 1, 0, 0, 0, 0, 0}; };
  EXPECT_EQ(greedy({}, 5, ends), (Tokens{}));
  EXPECT_EQ(greedy({.min_length = 1}, 5, ends), (Tokens{}));
  EXPECT_EQ(greedy({.min_length = 3}, 5, ends), (Tokens{1, 1}));
  EXPECT_EQ(greedy({.min_new_tokens = 3}, 5, ends), (Tokens{1, 1, 1}));
  EXPECT_EQ(greedy({.min_length = 5, .min_new_tokens = 2}, 5, ends), (Tokens{1, 1}));
  EXPECT_EQ(greedy({.min_new_tokens = 9}, 5, ends),
            (Tokens{1, 1, 1, 1, 1}));  // the limit comes first
}

TEST(TokenRules, SuppressedTokensAreNeverChosenTheEndIncluded) {
  EXPECT_EQ(greedy({.suppress_tokens = {1, 2}}, 3), (Tokens{3, 3, 3}));
  EXPECT_EQ(greedy({.suppress_tokens = {1, 2, 3, 4, 0, 70}}, 3), (Tokens{5, 5, 5}));
  EXPECT_EQ(greedy({.begin_suppress_tokens = {1, 2, 70}}, 3), (Tokens{3, 1, 1}));
}

TEST(TokenRules, TheForcedFirstTokenIsCertain) {
  EXPECT_EQ(greedy({.forced_bos_token_id = 5}, 3), (Tokens{5, 1, 1}));
  EXPECT_EQ(greedy({.forced_bos_token_id = 5, .begin_suppress_tokens = {1}}, 3), (Tokens{5, 2, 1}));
  Script model(in_order);
  const auto one_more = beam_search(model, sources(), {.max_new_tokens = 1}).at(0).at(0);
  for (const int64_t beams : {1, 3}) {
    const auto found = beam_search(model, sources(),
                                   {.beam_size = beams,
                                    .max_new_tokens = 2,
                                    .rules = {.forced_bos_token_id = 6}});  // the padding, even so
    EXPECT_EQ(found[0][0].tokens, (Tokens{6, 1}));
    EXPECT_NEAR(found[0][0].log_probability, one_more.log_probability, 1e-5);
    EXPECT_NEAR(found[0][0].score, one_more.log_probability / 2, 1e-5);
  }
  const SamplingOptions drawing{
      .top_k = 1, .max_new_tokens = 1, .rules = {.forced_bos_token_id = 5}};
  EXPECT_EQ(sample(model, sources(), drawing)[0].log_probability, 0.0);
}

TEST(TokenRules, APenaltyIsOfLogitsInGreedySearchAndOfLogProbabilitiesWithABeam) {
  // Of logits, 6 / 1.3 = 4.6 is less than 5. Of log-probabilities, -0.31 * 1.3 = -0.41 is more than -1.31.
  const auto logits = [](int64_t) { return std::vector<float>{-9, 6, 5, -9, -9, -9, -9}; };
  EXPECT_EQ(greedy({.repetition_penalty = 1.3}, 3, logits), (Tokens{1, 2, 1}));
  Script model(logits);
  const auto found = beam_search(
      model, sources(),
      {.beam_size = 2, .n_best = 2, .max_new_tokens = 2, .rules = {.repetition_penalty = 1.3}})[0];
  const auto all = std::log(std::exp(6.0) + std::exp(5.0));
  EXPECT_EQ(found[0].tokens, (Tokens{1, 1}));
  EXPECT_NEAR(found[0].log_probability, (6.0 - all) * 2.3, 1e-4);
  EXPECT_NEAR(found[1].log_probability, 11.0 - 2 * all, 1e-4);
}

TEST(TokenRules, TheEndGrowsLikelierBehindItsStart) {
  // The end's logit 1 is multiplied by 2, 4, 8, ... behind the first 2 tokens, and 8 is more than 6.
  EXPECT_EQ(greedy({.exponential_decay_length_penalty = LengthDecay{.start = 2, .factor = 2}}, 9),
            (Tokens{1, 1, 1, 1, 1}));
  // A negative one grows by its absolute value: -2 to -2 + 2 * 3, with a factor of 4 after a token.
  const auto negative = [](int64_t) { return std::vector<float>{-2, 3, 0, 0, 0, 0, 0}; };
  EXPECT_EQ(greedy({.exponential_decay_length_penalty = LengthDecay{.factor = 4}}, 9, negative),
            (Tokens{1}));
}

TEST(TokenRules, ProbabilitiesAreOfAllTokensUnlessRenormalised) {
  Script model(in_order);
  const auto sum = [](const std::vector<double>& logits) {
    double total = 0;
    for (const auto logit : logits) total += std::exp(logit);
    return std::log(total);
  };
  for (const int64_t beams : {1, 2}) {
    BeamSearchOptions options{
        .beam_size = beams, .max_new_tokens = 1, .rules = {.begin_suppress_tokens = {1}}};
    EXPECT_NEAR(beam_search(model, sources(), options)[0][0].log_probability,
                5.0 - sum({1, 6, 5, 4, 3, -2, 9}), 1e-4);
    options.renormalize_logits = true;
    EXPECT_NEAR(beam_search(model, sources(), options)[0][0].log_probability,
                5.0 - sum({1, 5, 4, 3, -2}), 1e-4);
  }
}

TEST(TokenRules, AHypothesisIsRuledByItsOwnTokens) {
  // No token twice: all of a beam have others to choose from.
  Script model(in_order);
  const auto found = beam_search(model, sources(2),
                                 {.beam_size = 4,
                                  .n_best = 4,
                                  .max_new_tokens = 3,
                                  .rules = {.no_repeat_ngram_size = 1, .suppress_tokens = {0}}});
  ASSERT_EQ(found.size(), 2U);
  for (const auto& sentence : found) {
    ASSERT_EQ(sentence.size(), 4U);
    for (const auto& one : sentence) {
      const std::set<int64_t> different(one.tokens.begin(), one.tokens.end());
      EXPECT_EQ(different.size(), 3U);
    }
  }
}

// Random models, to compare a sentence of a batch with the same alone.
Seq2Seq translator() {
  Seq2Seq model(Seq2SeqOptions(13, 13, 8, 2, 1).max_length(20));
  testing_support::randomise(*model);
  model->to(torch::kDouble);
  model->eval();
  return model;
}

const TokenRules kMany{.repetition_penalty = 1.4,
                       .no_repeat_ngram_size = 2,
                       .bad_words_ids = {{3, 4}, {5}},
                       .min_new_tokens = 4,
                       .exponential_decay_length_penalty = LengthDecay{.start = 5, .factor = 1.2},
                       .begin_suppress_tokens = {2}};

TEST(TokenRules, SentencesOfABatchDoNotTouchEachOther) {
  auto model = translator();
  const auto batch =
      torch::tensor({{2, 3, 4, 5, 0}, {6, 7, 0, 12, 12}, {9, 8, 7, 0, 12}}, torch::kLong);
  const std::vector<Tokens> prefixes{{4, 3}, {}, {7, 7, 7}};
  const BeamSearchOptions options{
      .beam_size = 3, .n_best = 3, .max_new_tokens = 9, .rules = kMany, .attention = true};
  const auto together = beam_search(*model, batch, options, {}, prefixes);
  for (size_t b = 0; b < 3; ++b) {
    const auto row = batch.narrow(0, static_cast<int64_t>(b), 1);
    const auto alone = beam_search(*model, row, options, {}, {prefixes[b]}).at(0);
    ASSERT_EQ(together[b].size(), alone.size());
    for (size_t n = 0; n < alone.size(); ++n) {
      EXPECT_EQ(together[b][n].tokens, alone[n].tokens);
      EXPECT_NEAR(together[b][n].score, alone[n].score, 1e-6);
      EXPECT_TENSOR_NEAR(together[b][n].attention, alone[n].attention, 1e-6);
      EXPECT_TRUE(std::equal(prefixes[b].begin(), prefixes[b].end(), alone[n].tokens.begin()));
    }
  }
}

TEST(TokenRules, APromptsPaddingDoesNotCount) {
  CausalLM model(CausalLMOptions(13, 8, 2, 1).max_length(20));
  testing_support::randomise(*model);
  model->to(torch::kDouble);
  model->eval();
  auto rules = kMany;
  rules.forced_bos_token_id = 9;  // of the prompt of one token
  rules.min_new_tokens.reset();
  rules.min_length = 6;
  const auto prompts = torch::tensor({{1, 2, 3}, {4, 4, 6}}, torch::kLong);
  const auto mask =
      AttentionMask(torch::tensor({{true, true, true}, {false, false, true}}).view({2, 1, 1, 3}));
  const BeamSearchOptions options{.beam_size = 3, .max_new_tokens = 8, .rules = rules};
  const auto together = beam_search(*model, prompts, options, mask);
  const auto first = beam_search(*model, prompts.narrow(0, 0, 1), options).at(0).at(0);
  const auto second = beam_search(*model, torch::tensor({{6}}, torch::kLong), options).at(0).at(0);
  EXPECT_EQ(together[0][0].tokens, first.tokens);
  EXPECT_EQ(together[1][0].tokens, second.tokens);
  EXPECT_EQ(second.tokens.front(), 9);
  EXPECT_NEAR(together[1][0].score, second.score, 1e-6);
  const auto drawn = sample(*model, prompts, {.top_k = 1, .max_new_tokens = 8, .rules = rules},
                            std::nullopt, mask);
  const auto greedy_first =
      beam_search(*model, prompts.narrow(0, 0, 1), {.max_new_tokens = 8, .rules = rules});
  EXPECT_EQ(drawn[0].tokens, greedy_first[0][0].tokens);
  EXPECT_EQ(drawn[1].tokens.front(), 9);
}

TEST(TokenRules, TokensThatAreOnlyReadMayBeInThem) {
  EXPECT_EQ(
      greedy({.repetition_penalty = 1.1, .bad_words_ids = {{1, 70}}, .suppress_tokens = {71}}, 2),
      (Tokens{1, 1}));
}

TEST(TokenRules, WhereNothingMayBeChosenItIsAnError) {
  Script model(in_order);
  const TokenRules rules{.no_repeat_ngram_size = 1, .suppress_tokens = {0}};
  EXPECT_THROW_MESSAGE(
      beam_search(model, sources(), {.rules = rules}), c10::Error,
      "beam_search: expected a token that may be chosen, got probability 0 for all "
      "in step 5 of sentence 0");
  EXPECT_THROW_MESSAGE(sample(model, sources(2), {.rules = rules}), c10::Error,
                       "sample: expected a token that may be chosen, got probability 0 for all in "
                       "step 5 of prompt 0");
}

TEST(TokenRules, ErrorsNameTheField) {
  Script model(in_order);
  const auto error = [&](const TokenRules& rules) -> std::string {
    try {
      beam_search(model, sources(), {.rules = rules});
    } catch (const c10::ValueError& thrown) {
      return thrown.what_without_backtrace();
    }
    return "none";
  };
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(error({.repetition_penalty = 0}),
            "beam_search: expected a finite repetition_penalty > 0, got 0");
  EXPECT_EQ(error({.repetition_penalty = kNan}),
            "beam_search: expected a finite repetition_penalty > 0, got nan");
  EXPECT_EQ(error({.no_repeat_ngram_size = -1}),
            "beam_search: expected no_repeat_ngram_size >= 0, got -1");
  EXPECT_EQ(error({.bad_words_ids = {{1}, {}}}),
            "beam_search: expected bad_words_ids of a token or more each, got none");
  EXPECT_EQ(error({.bad_words_ids = {{1, -4}}}),
            "beam_search: expected bad_words_ids >= 0, got -4");
  EXPECT_EQ(error({.min_length = -2}), "beam_search: expected min_length >= 0, got -2");
  EXPECT_EQ(error({.min_new_tokens = -2}), "beam_search: expected min_new_tokens >= 0, got -2");
  EXPECT_EQ(error({.forced_bos_token_id = -2}),
            "beam_search: expected forced_bos_token_id >= 0, got -2");
  EXPECT_EQ(error({.forced_bos_token_id = 7}),
            "beam_search: expected forced tokens among the model's 7, got 7");
  EXPECT_EQ(error({.exponential_decay_length_penalty = LengthDecay{.start = 1, .factor = 0}}),
            "beam_search: expected exponential_decay_length_penalty of a start >= 0 and a finite "
            "factor > 0, got 1 and 0");
  EXPECT_EQ(error({.suppress_tokens = {3, -5}}),
            "beam_search: expected suppress_tokens >= 0, got -5");
  EXPECT_EQ(error({.forced_bos_token_id = 4, .suppress_tokens = {3, 4}}),
            "beam_search: expected suppress_tokens without forced_bos_token_id 4, got it");
  EXPECT_THROW_MESSAGE(
      beam_search(model, sources(), {.forced_eos = true, .rules = {.suppress_tokens = {0}}}),
      c10::ValueError,
      "beam_search: expected suppress_tokens without the forced end token, got it");
  EXPECT_EQ(error({.begin_suppress_tokens = {-5}}),
            "beam_search: expected begin_suppress_tokens >= 0, got -5");
  EXPECT_THROW_MESSAGE(sample(model, sources(), {.rules = {.forced_bos_token_id = 7}}),
                       c10::ValueError,
                       "sample: expected forced_bos_token_id among the model's 7 tokens, got 7");
}

TEST(BeamSearchPrefix, IsCertainAndNotCountedInTheLength) {
  Script model(in_order);
  for (const int64_t beams : {1, 3}) {
    const auto found =
        beam_search(model, sources(), {.beam_size = beams, .max_new_tokens = 2, .attention = true},
                    {}, {{4, 5, 4}});
    const auto without = beam_search(model, sources(), {.max_new_tokens = 2})[0][0];
    EXPECT_EQ(found[0][0].tokens, (Tokens{4, 5, 4, 1, 1}));
    EXPECT_NEAR(found[0][0].log_probability, without.log_probability, 1e-5);
    EXPECT_NEAR(found[0][0].score, without.score, 1e-5);
    EXPECT_EQ(found[0][0].attention.size(0), 5);
  }
}

TEST(BeamSearchPrefix, LimitsAreOfWhatFollowsExceptTheLengthInAll) {
  Script model(in_order);
  const auto length = [&](const BeamSearchOptions& options) {
    return beam_search(model, sources(), options, {}, {{4, 5, 4}})[0][0].tokens.size();
  };
  constexpr double kInf = std::numeric_limits<double>::infinity();
  EXPECT_EQ(length({.max_length_factor = 0, .max_length_extra = 2}), 5U);
  EXPECT_EQ(length({.max_new_tokens = 4}), 7U);
  EXPECT_EQ(length({.max_length = 7}), 6U);  // and the start token
  EXPECT_EQ(length({.max_length_factor = kInf}), 12U);
  EXPECT_EQ(length({.max_length_factor = 0, .max_length_extra = 2, .forced_eos = true}), 4U);
}

TEST(BeamSearchPrefix, ASentenceThatJoinsASearchHasItsOwn) {
  Script model(in_order);
  ContinuousBeamSearch search(model, {.beam_size = 2, .max_new_tokens = 2}, 3,
                              testing_support::test_device());
  search.admit(0, {3, 3}, {.prefix = {4, 5}});
  search.admit(1, {3, 3});
  search.admit(2, {3, 3}, {.prefix = {4, 0}});
  std::map<size_t, SearchedSentence> ended;
  while (search.size() > 0) {
    for (auto& one : search.step()) ended[one.id] = std::move(one);
  }
  ASSERT_FALSE(ended[0].error || ended[1].error);
  EXPECT_EQ(ended[0].hypotheses[0].tokens, (Tokens{4, 5, 1, 1}));
  EXPECT_EQ(ended[1].hypotheses[0].tokens, (Tokens{1, 1}));
  EXPECT_NEAR(ended[0].hypotheses[0].score, ended[1].hypotheses[0].score, 1e-5);
  EXPECT_TRUE(ended[2].error);  // a prefix with an end
}

TEST(BeamSearchPrefix, ErrorsSayWhatIsWrong) {
  Script model(in_order);
  EXPECT_THROW_MESSAGE(beam_search(model, sources(2), {}, {}, {{1}}), c10::ValueError,
                       "beam_search: expected a prefix for each of the 2 sentences, got 1");
  EXPECT_THROW_MESSAGE(beam_search(model, sources(), {}, {}, {{1, 0}}), c10::ValueError,
                       "beam_search: expected prefixes without the end token, got it");
  EXPECT_THROW_MESSAGE(beam_search(model, sources(), {}, {}, {{1, 7}}), c10::ValueError,
                       "beam_search: expected forced tokens among the model's 7, got 7");
  EXPECT_THROW_MESSAGE(
      beam_search(model, sources(), {}, {}, {Tokens(12, 1)}), c10::ValueError,
      "beam_search: expected a prefix that leaves room for tokens, got 12 tokens of at most 12");
  EXPECT_THROW_MESSAGE(
      beam_search(model, sources(), {.max_length = 3}, {}, {{1, 1}}), c10::ValueError,
      "beam_search: expected max_length above the 3 tokens that are fed first, got 3");
}

}  // namespace
}  // namespace attend::token_rules_test
