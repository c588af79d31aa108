#include "attend/decoding/beam_search.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <utility>

#include "attend/models/seq2seq.h"
#include "support/tensor_assert.h"

namespace attend::beam_search_test {
namespace {

// A model whose next-token probabilities are written down by hand, as a function of what was fed
// before. The source's first token is given to it, so that sentences can differ.
class TableModel : public IncrementalModel {
 public:
  using Table = std::function<std::vector<double>(int64_t source, const std::vector<int64_t>&)>;
  explicit TableModel(Table table) : table_(std::move(table)) {}

  SpecialTokenIds special_tokens() const override { return {3, 0, 3}; }
  int64_t max_target_length() const override { return 20; }

  std::unique_ptr<DecoderState> start(const torch::Tensor& source, const AttentionMask&) override {
    auto state = std::make_unique<State>();
    for (int64_t b = 0; b < source.size(0); ++b) {
      state->sources.push_back(source[b][0].item<int64_t>());
      state->prefixes.emplace_back();
    }
    return state;
  }

  StepOutput step(const torch::Tensor& tokens, DecoderState& state, bool want_alignment) override {
    auto& own = dynamic_cast<State&>(state);
    std::vector<torch::Tensor> rows;
    const auto beams = own.prefixes.size() / own.sources.size();
    for (size_t i = 0; i < own.prefixes.size(); ++i) {
      own.prefixes[i].push_back(tokens[static_cast<int64_t>(i)].item<int64_t>());
      auto row = torch::tensor(table_(own.sources[i / beams], own.prefixes[i]), torch::kDouble);
      rows.push_back(row.log());
    }
    ++own.steps;
    StepOutput output{torch::stack(rows), {}};
    if (want_alignment) {
      output.alignment = torch::full({output.logits.size(0), 2}, static_cast<double>(own.steps));
    }
    return output;
  }

 private:
  struct State : DecoderState {
    std::vector<int64_t> sources;
    std::vector<std::vector<int64_t>> prefixes;
    int64_t steps = 0;
    int64_t position() const override { return steps; }
    void reorder(const torch::Tensor& rows, const torch::Tensor& sentences) override {
      std::vector<std::vector<int64_t>> moved;
      for (int64_t i = 0; i < rows.size(0); ++i) {
        moved.push_back(prefixes.at(static_cast<size_t>(rows[i].item<int64_t>())));
      }
      prefixes = moved;
      if (!sentences.defined()) return;
      std::vector<int64_t> kept;
      for (int64_t i = 0; i < sentences.size(0); ++i) {
        kept.push_back(sources.at(static_cast<size_t>(sentences[i].item<int64_t>())));
      }
      sources = kept;
    }
  };
  Table table_;
};

// Greedy search takes 1 (0.6) and then can only get 0.6 * 0.4; the best sequence starts with 2.
std::vector<double> greedy_trap(int64_t, const std::vector<int64_t>& fed) {
  if (fed.size() == 1) return {0.05, 0.55, 0.4, 0.0};
  if (fed.size() == 2 && fed[1] == 1) return {0.4, 0.3, 0.3, 0.0};
  if (fed.size() == 2) return {0.9, 0.05, 0.05, 0.0};
  return {0.98, 0.01, 0.01, 0.0};
}

torch::Tensor one_source() { return torch::tensor({{1, 0}}, torch::kLong); }

TEST(BeamSearch, GreedyTakesTheBestTokenOfEachStep) {
  TableModel model(greedy_trap);
  const auto best = beam_search(model, one_source()).at(0).at(0);
  EXPECT_EQ(best.tokens, (std::vector<int64_t>{1}));
  EXPECT_NEAR(best.log_probability, std::log(0.55 * 0.4), 1e-6);
  EXPECT_NEAR(best.score, std::log(0.55 * 0.4) / 2, 1e-6);
}

TEST(BeamSearch, AWiderBeamFindsTheMoreLikelySequence) {
  TableModel model(greedy_trap);
  const auto found =
      beam_search(model, one_source(), {.beam_size = 2, .n_best = 2, .length_penalty = 0.0}).at(0);
  EXPECT_EQ(found.at(0).tokens, (std::vector<int64_t>{2}));
  EXPECT_NEAR(found.at(0).log_probability, std::log(0.4 * 0.9), 1e-6);
  EXPECT_EQ(found.at(1).tokens, (std::vector<int64_t>{1}));
}

TEST(BeamSearch, TheFirstStepHasARowForEachSentenceAlone) {
  class Counted : public TableModel {
   public:
    using TableModel::TableModel;
    StepOutput step(const torch::Tensor& tokens, DecoderState& state, bool alignment) override {
      rows.push_back(tokens.size(0));
      return TableModel::step(tokens, state, alignment);
    }
    std::vector<int64_t> rows;
  };
  Counted model(greedy_trap);
  beam_search(model, torch::tensor({{1, 0}, {2, 0}, {1, 0}}, torch::kLong), {.beam_size = 2});
  ASSERT_GE(model.rows.size(), 2U);
  EXPECT_EQ(model.rows[0], 3);
  EXPECT_EQ(model.rows[1], 6);
}

TEST(BeamSearch, ABeamAsWideAsTheTreeFindsWhatExhaustiveSearchFinds) {
  // Random distributions over 3 tokens; sequences of at most 4 tokens, the end counted.
  for (int64_t seed = 0; seed < 20; ++seed) {
    const auto table = [seed](int64_t, const std::vector<int64_t>& fed) {
      uint64_t hash = static_cast<uint64_t>(seed) + 1;
      for (const auto token : fed)
        hash =
            hash * 6364136223846793005ULL + static_cast<uint64_t>(token) + 1442695040888963407ULL;
      std::vector<double> p(4, 0.0);
      double sum = 0;
      for (size_t i = 0; i < 3; ++i) {
        hash ^= hash >> 29U;
        hash *= 0xbf58476d1ce4e5b9ULL;
        p[i] = 1.0 + static_cast<double>(hash >> 40U) / 1e6;
        sum += p[i];
      }
      for (auto& value : p) value /= sum;
      return p;
    };
    double best = -1e9;
    std::vector<int64_t> best_tokens;
    const std::function<void(std::vector<int64_t>, double)> visit = [&](std::vector<int64_t> fed,
                                                                        double so_far) {
      const auto p = table(0, fed);
      const double ended = so_far + std::log(p[0]);
      if (ended > best) {
        best = ended;
        best_tokens.assign(fed.begin() + 1, fed.end());
      }
      for (int64_t token = 1; token <= 2; ++token) {
        auto next = fed;
        next.push_back(token);
        const auto log_probability = so_far + std::log(p[static_cast<size_t>(token)]);
        if (fed.size() < 4) {
          visit(next, log_probability);
        } else if (log_probability > best) {  // unfinished at the limit
          best = log_probability;
          best_tokens.assign(next.begin() + 1, next.end());
        }
      }
    };
    visit({3}, 0.0);
    TableModel model(table);
    const auto found = beam_search(
        model, one_source(),
        {.beam_size = 16, .length_penalty = 0.0, .max_length_factor = 0.0, .max_length_extra = 4});
    EXPECT_EQ(found.at(0).at(0).tokens, best_tokens) << seed;
    EXPECT_NEAR(found.at(0).at(0).log_probability, best, 1e-5) << seed;
  }
}

// Ends too late for any limit.
std::vector<double> endless(int64_t, const std::vector<int64_t>&) { return {0.01, 0.9, 0.09, 0.0}; }

TEST(BeamSearch, AHypothesisMayBeUnfinishedAtTheLimit) {
  TableModel model(endless);
  const auto found =
      beam_search(model, one_source(), {.max_length_factor = 1.0, .max_length_extra = 3})
          .at(0)
          .at(0);
  EXPECT_EQ(found.tokens, (std::vector<int64_t>{1, 1, 1, 1, 1}));  // 2 + 3
  EXPECT_FALSE(found.ended);
  EXPECT_NEAR(found.log_probability, 5 * std::log(0.9), 1e-5);
  EXPECT_NEAR(found.score, std::log(0.9), 1e-5);
}

TEST(BeamSearch, AForcedEndIsCertain) {
  TableModel model(endless);
  for (const int64_t beam_size : {1, 3}) {
    const auto found = beam_search(model, one_source(),
                                   {.beam_size = beam_size,
                                    .max_length_factor = 1.0,
                                    .max_length_extra = 3,
                                    .forced_eos = true})
                           .at(0)
                           .at(0);
    EXPECT_EQ(found.tokens, (std::vector<int64_t>{1, 1, 1, 1}));  // 2 + 3, the end counted
    EXPECT_TRUE(found.ended);
    EXPECT_NEAR(found.log_probability, 4 * std::log(0.9), 1e-5);
    EXPECT_NEAR(found.score, 4 * std::log(0.9) / 5, 1e-5);
  }
}

TEST(BeamSearch, TheLeastOfAllLimitsHolds) {
  TableModel model(endless);
  constexpr double kInf = std::numeric_limits<double>::infinity();
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
  const auto length = [&](const BeamSearchOptions& options) {
    return beam_search(model, one_source(), options).at(0).at(0).tokens.size();
  };
  // The model has room for 20.
  EXPECT_EQ(length({.max_length_factor = kInf}), 20U);
  EXPECT_EQ(length({.max_length_factor = 1e19}), 20U);
  EXPECT_EQ(length({.max_length_factor = 1e308, .max_length_extra = kMost}), 20U);
  EXPECT_EQ(length({.max_length_factor = 0.0, .max_length_extra = kMost}), 20U);
  EXPECT_EQ(length({.max_length_factor = kInf, .max_new_tokens = kMost}), 20U);
  EXPECT_EQ(length({.max_length_factor = kInf, .max_length = kMost}), 20U);
  EXPECT_EQ(length({.max_length_factor = kInf, .max_new_tokens = 7}), 7U);
  EXPECT_EQ(length({.max_length_factor = kInf, .max_length = 7}), 6U);  // and the start token
  EXPECT_EQ(length({.max_length_factor = 0.0, .max_length_extra = 4, .max_length = 7}), 4U);
  // A source of nothing but padding has no length.
  EXPECT_EQ(beam_search(model, torch::full({1, 2}, 3, torch::kLong),
                        {.max_length_factor = kInf, .max_length_extra = 4})
                .at(0)
                .at(0)
                .tokens.size(),
            4U);
}

TEST(BeamSearch, AnEndingOfTheLastStepTakesThePlaceOfAWorseOne) {
  TableModel model([](int64_t, const std::vector<int64_t>& fed) {
    if (fed.size() == 1) return std::vector<double>{0.4, 0.36, 0.24, 0.0};
    return fed[1] == 1 ? std::vector<double>{0.9, 0.05, 0.05, 0.0}
                       : std::vector<double>{0.95, 0.03, 0.02, 0.0};
  });
  for (const auto rule : {EarlyStopping::kFalse, EarlyStopping::kTrue, EarlyStopping::kNever}) {
    const auto found =
        beam_search(model, one_source(), {.beam_size = 2, .n_best = 2, .early_stopping = rule})
            .at(0);
    ASSERT_EQ(found.size(), 2U);
    // The first to end was the empty one, of log 0.4.
    EXPECT_EQ(found[0].tokens, (std::vector<int64_t>{1}));
    EXPECT_NEAR(found[0].score, std::log(0.36 * 0.9) / 2, 1e-6);
    EXPECT_EQ(found[1].tokens, (std::vector<int64_t>{2}));
    EXPECT_NEAR(found[1].score, std::log(0.24 * 0.95) / 2, 1e-6);
  }
}

using Tokens = std::vector<std::vector<int64_t>>;

Tokens tokens_of(const std::vector<Hypothesis>& hypotheses) {
  Tokens tokens;
  for (const auto& one : hypotheses) tokens.push_back(one.tokens);
  return tokens;
}

TEST(BeamSearch, EarlyStoppingEndsWithTheFirstThatFillTheBeam) {
  // The first two to end have means of log 0.3 and log 0.175 / 2; what goes on is better.
  TableModel model([](int64_t, const std::vector<int64_t>& fed) {
    if (fed.size() == 1) return std::vector<double>{0.3, 0.5, 0.2, 0.0};
    if (fed.size() == 2 && fed[1] == 1) return std::vector<double>{0.35, 0.6, 0.05, 0.0};
    if (fed.size() == 2) return std::vector<double>{0.1, 0.1, 0.8, 0.0};
    return std::vector<double>{0.9, 0.05, 0.05, 0.0};
  });
  const auto found = [&](EarlyStopping rule) {
    return tokens_of(
        beam_search(model, one_source(), {.beam_size = 2, .n_best = 2, .early_stopping = rule})
            .at(0));
  };
  EXPECT_EQ(found(EarlyStopping::kTrue), (Tokens{{1}, {}}));
  EXPECT_EQ(found(EarlyStopping::kFalse), (Tokens{{1, 1}, {2, 2}}));
  EXPECT_EQ(found(EarlyStopping::kNever), (Tokens{{1, 1}, {2, 2}}));
}

// Behind an unlikely first token all are certain, and the mean grows with each of them.
std::vector<double> late_reward(int64_t, const std::vector<int64_t>& fed) {
  if (fed.size() == 1) return {0.5, 0.4, 0.1, 0.0};
  if (fed[1] == 1) return {0.6, 0.2, 0.2, 0.0};
  return fed.size() < 8 ? std::vector<double>{0.0, 0.0, 1.0, 0.0}
                        : std::vector<double>{1.0, 0.0, 0.0, 0.0};
}

TEST(BeamSearch, WithoutEarlyStoppingItGoesOnWhileALongerOneCouldBeBetter) {
  TableModel model(late_reward);
  const auto best = [&](EarlyStopping rule, double length_penalty) {
    return beam_search(model, one_source(),
                       {.beam_size = 2, .length_penalty = length_penalty, .early_stopping = rule})
        .at(0)
        .at(0)
        .tokens;
  };
  EXPECT_EQ(best(EarlyStopping::kFalse, 1.0), std::vector<int64_t>());
  EXPECT_EQ(best(EarlyStopping::kNever, 1.0), std::vector<int64_t>(7, 2));
  // Sums of logarithms only fall.
  EXPECT_EQ(best(EarlyStopping::kNever, 0.0), std::vector<int64_t>());
}

TEST(BeamSearch, GreedySearchStopsAtTheFirstEndWhateverTheRule) {
  TableModel model([](int64_t, const std::vector<int64_t>& fed) {
    return fed.size() == 1 ? std::vector<double>{0.4, 0.35, 0.25, 0.0}
                           : std::vector<double>{0.99, 0.005, 0.005, 0.0};
  });
  for (const auto rule : {EarlyStopping::kFalse, EarlyStopping::kTrue, EarlyStopping::kNever}) {
    const auto found = beam_search(model, one_source(), {.early_stopping = rule}).at(0);
    EXPECT_EQ(tokens_of(found), (Tokens{{}}));
  }
}

// Notes what the search asks for.
class AskedModel : public TableModel {
 public:
  using TableModel::TableModel;
  BestTokensRequest asked;

  VocabularySizes vocabulary_sizes() const override { return {.source = 4, .target = 4}; }
  StepOutput step_best(const torch::Tensor& tokens, DecoderState& state,
                       const BestTokensRequest& request, bool want_alignment) override {
    asked = request;
    return TableModel::step_best(tokens, state, request, want_alignment);
  }
};

TEST(BeamSearch, GreedySearchWithoutScoresNeedsTheLargestLogitAlone) {
  AskedModel model(greedy_trap);
  for (const bool renormalised : {false, true}) {
    const auto best =
        beam_search(model, one_source(), {.renormalize_logits = renormalised, .scores = false})
            .at(0)
            .at(0);
    EXPECT_EQ(model.asked.count, 1);
    EXPECT_EQ(model.asked.normaliser, Normaliser::kNone);
    EXPECT_EQ(best.tokens, (std::vector<int64_t>{1}));
    EXPECT_TRUE(best.ended);
    EXPECT_TRUE(std::isnan(best.log_probability) && std::isnan(best.score));
  }
  // A rule that looks at tokens, and a limit.
  const auto cut = beam_search(model, one_source(),
                               {.max_new_tokens = 2,
                                .rules = {.no_repeat_ngram_size = 1, .min_new_tokens = 3},
                                .scores = false})
                       .at(0)
                       .at(0);
  EXPECT_EQ(cut.tokens, (std::vector<int64_t>{1, 2}));
  EXPECT_TRUE(std::isnan(cut.log_probability));
}

TEST(BeamSearch, ABeamAndAnObserverHaveScoresWhateverIsWanted) {
  AskedModel model(greedy_trap);
  const auto of_beam =
      beam_search(model, one_source(), {.beam_size = 2, .length_penalty = 0.0, .scores = false});
  EXPECT_EQ(model.asked.normaliser, Normaliser::kAll);
  EXPECT_NEAR(of_beam.at(0).at(0).score, std::log(0.4 * 0.9), 1e-6);
  std::vector<double> seen;
  const auto observed =
      beam_search(model, one_source(), {.scores = false, .on_step = [&](const BeamStep& step) {
                                          seen.push_back(step.candidates.front().log_probability);
                                        }});
  ASSERT_EQ(seen.size(), 2U);
  EXPECT_NEAR(seen[1], std::log(0.55 * 0.4), 1e-6);
  EXPECT_NEAR(observed.at(0).at(0).log_probability, seen[1], 1e-9);
}

TEST(BeamSearch, BadWordsAreNeverChosenAndTheEndIsNone) {
  TableModel model(greedy_trap);
  BeamSearchOptions options{.rules = {.bad_words_ids = {{1}, {0}}}};
  EXPECT_EQ(beam_search(model, one_source(), options).at(0).at(0).tokens,
            (std::vector<int64_t>{2}));
  options.rules.bad_words_ids = {{1}, {4}};  // a token that the model only reads, beyond its logits
  EXPECT_EQ(beam_search(model, one_source(), options).at(0).at(0).tokens,
            (std::vector<int64_t>{2}));
  options.rules.bad_words_ids = {{1}, {-1}};
  EXPECT_THROW_MESSAGE(beam_search(model, one_source(), options), c10::ValueError,
                       "beam_search: expected bad_words_ids >= 0, got -1");
}

TEST(BeamSearch, ProbabilitiesAreOfAllTokensUnlessRenormalised) {
  // A quarter of the probability is the pad token's, which is never chosen.
  TableModel model([](int64_t, const std::vector<int64_t>&) {
    return std::vector<double>{0.45, 0.2, 0.1, 0.25};
  });
  const auto of_all = beam_search(model, one_source()).at(0).at(0);
  EXPECT_NEAR(of_all.log_probability, std::log(0.45), 1e-6);
  const auto of_allowed =
      beam_search(model, one_source(), {.renormalize_logits = true}).at(0).at(0);
  EXPECT_NEAR(of_allowed.log_probability, std::log(0.6), 1e-6);
}

// The second of two hypotheses has no token that may follow: the first one's row stays in its place.
TEST(BeamSearch, ABeamMayBecomeNarrower) {
  TableModel model([](int64_t, const std::vector<int64_t>& fed) -> std::vector<double> {
    if (fed.size() == 1) return {0.0, 0.6, 0.4, 0.0};
    if (fed[1] == 2) return {0.0, 0.0, 0.0, 1.0};  // what is never chosen
    if (fed.size() == 2) return {0.0, 0.0, 1.0, 0.0};
    return {1.0, 0.0, 0.0, 0.0};
  });
  const auto found =
      beam_search(model, torch::tensor({{1}}), {.beam_size = 2, .max_new_tokens = 9}).at(0).at(0);
  EXPECT_EQ(found.tokens, (std::vector<int64_t>{1, 2}));
  EXPECT_TRUE(found.ended);
}

TEST(BeamSearch, ABeamMayBeWiderThanEveryTree) {
  TableModel model(endless);
  const auto found = beam_search(model, one_source(),
                                 {.beam_size = std::numeric_limits<int64_t>::max(),
                                  .n_best = 9,
                                  .length_penalty = 0.0,
                                  .max_length_factor = 0.0,
                                  .max_length_extra = 2})
                         .at(0);
  // The end, or 1 or 2 and then one of the three.
  EXPECT_EQ(found.size(), 7U);
  EXPECT_EQ(found.front().tokens, (std::vector<int64_t>{1, 1}));
}

TEST(BeamSearch, SentencesOfABatchDoNotTouchEachOther) {
  torch::manual_seed(5);
  Seq2Seq model(Seq2SeqOptions(13, 13, 8, 2, 1));
  for (auto& parameter : model->parameters()) {
    const torch::NoGradGuard no_grad;
    parameter.normal_(0.0, 0.6);
  }
  model->to(torch::kDouble);
  model->eval();
  const auto batch =
      torch::tensor({{2, 3, 4, 5, 0}, {6, 7, 0, 12, 12}, {9, 8, 7, 0, 12}}, torch::kLong);
  const BeamSearchOptions options{.beam_size = 3, .n_best = 3, .attention = true};
  const auto together = beam_search(*model, batch, options);
  const std::vector<int64_t> lengths{5, 3, 4};
  for (int64_t b = 0; b < 3; ++b) {
    const auto length = lengths[static_cast<size_t>(b)];
    const auto alone =
        beam_search(*model, batch.narrow(0, b, 1).narrow(1, 0, length), options).at(0);
    for (size_t n = 0; n < 3; ++n) {
      const auto& both = together.at(static_cast<size_t>(b)).at(n);
      EXPECT_EQ(both.tokens, alone.at(n).tokens);
      EXPECT_NEAR(both.score, alone.at(n).score, 1e-6);
      EXPECT_TENSOR_NEAR(both.attention.narrow(1, 0, length), alone.at(n).attention, 1e-6);
      EXPECT_EQ(both.ended, alone.at(n).ended);
      EXPECT_EQ(both.attention.size(0),
                static_cast<int64_t>(both.tokens.size()) + (both.ended ? 1 : 0));
    }
  }
}

TEST(BeamSearch, AttentionFollowsTheHypothesis) {
  TableModel model(greedy_trap);
  const auto found =
      beam_search(model, one_source(), {.beam_size = 2, .attention = true}).at(0).at(0);
  // The table's attention is the number of the step that chose the token.
  EXPECT_TENSOR_EQUAL(found.attention, torch::tensor({{1.0F, 1.0F}, {2.0F, 2.0F}}));
}

TEST(BeamSearch, EveryStepIsToldAndSpellsTheResults) {
  TableModel model(greedy_trap);
  std::vector<BeamStep> steps;
  BeamSearchOptions options{.beam_size = 2, .n_best = 2, .length_penalty = 0.0};
  options.on_step = [&](const BeamStep& step) { steps.push_back(step); };
  const auto found = beam_search(model, one_source(), options).at(0);
  // Following the parents of what was kept spells every hypothesis; those that end are the results.
  std::vector<std::vector<int64_t>> kept{{}};
  std::map<std::vector<int64_t>, double> finished;
  for (size_t s = 0; s < steps.size(); ++s) {
    EXPECT_EQ(steps[s].sentence, 0U);
    EXPECT_EQ(steps[s].step, s);
    std::vector<std::vector<int64_t>> next;
    double previous = 0;
    for (const auto& candidate : steps[s].candidates) {
      EXPECT_LE(candidate.log_probability, previous);
      previous = candidate.log_probability;
      auto tokens = kept.at(candidate.parent);
      if (candidate.fate == BeamCandidate::kFinished) {
        EXPECT_EQ(candidate.token, 0);
        finished[tokens] = candidate.log_probability;
      }
      tokens.push_back(candidate.token);
      if (candidate.fate == BeamCandidate::kKept) next.push_back(tokens);
    }
    EXPECT_LE(next.size(), 2U);
    kept = next;
  }
  ASSERT_EQ(finished.size(), found.size());
  for (const auto& result : found) {
    EXPECT_NEAR(finished.at(result.tokens), result.log_probability, 1e-12);
  }
}

TEST(BeamSearch, BadWordsAreNeverChosenNorLookedAt) {
  TableModel model(greedy_trap);
  for (const bool renormalised : {false, true}) {
    BeamSearchOptions options{
        .beam_size = 2, .rules = {.bad_words_ids = {{1}}}, .renormalize_logits = renormalised};
    options.on_step = [](const BeamStep& step) {
      for (const auto& candidate : step.candidates) EXPECT_NE(candidate.token, 1);
    };
    const auto found = beam_search(model, one_source(), options).at(0).at(0);
    EXPECT_EQ(found.tokens, (std::vector<int64_t>{2}));
    EXPECT_NEAR(found.log_probability,
                renormalised ? std::log(0.4 / 0.45 * 0.9 / 0.95) : std::log(0.4 * 0.9), 1e-6);
  }
}

TEST(BeamSearch, AnEmptyBatchHasNoResults) {
  TableModel model(greedy_trap);
  EXPECT_TRUE(beam_search(model, torch::zeros({0, 3}, torch::kLong)).empty());
}

TEST(BeamSearch, ErrorsNameTheOption) {
  TableModel model(greedy_trap);
  EXPECT_THROW_MESSAGE(beam_search(model, one_source(), {.beam_size = 0}), c10::ValueError,
                       "beam_search: expected beam_size > 0, got 0");
  EXPECT_THROW_MESSAGE(beam_search(model, one_source(), {.beam_size = 2, .n_best = 3}),
                       c10::ValueError, "beam_search: expected 1 <= n_best <= beam_size 2, got 3");
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THROW_MESSAGE(
      beam_search(model, one_source(), {.max_length_factor = kNan}), c10::ValueError,
      "beam_search: expected max_length_factor >= 0 and max_length_extra >= 1, got "
      "nan and 10");
  EXPECT_THROW_MESSAGE(beam_search(model, one_source(), {.length_penalty = kNan}), c10::ValueError,
                       "beam_search: expected a finite length_penalty, got nan");
  EXPECT_THROW_MESSAGE(beam_search(model, one_source(), {.max_length = 0}), c10::ValueError,
                       "beam_search: expected max_length > 0, got 0");
  EXPECT_THROW_MESSAGE(beam_search(model, one_source(), {.max_new_tokens = -1}), c10::ValueError,
                       "beam_search: expected max_new_tokens > 0, got -1");
  EXPECT_THROW_MESSAGE(
      beam_search(model, one_source(), {.max_length = 1}), c10::ValueError,
      "beam_search: expected max_length above the 1 tokens that are fed first, got 1");
}

TEST(BeamSearch, LogitsThatChooseNothingAreErrors) {
  TableModel nothing([](int64_t, const std::vector<int64_t>& fed) {
    const double nan = std::numeric_limits<double>::quiet_NaN();
    return fed.size() < 3 ? std::vector<double>{0.1, 0.5, 0.4, 0.0}
                          : std::vector<double>{0.1, nan, 0.4, 0.0};
  });
  for (const auto& options :
       {BeamSearchOptions{.beam_size = 2}, BeamSearchOptions{.scores = false},
        BeamSearchOptions{.rules = {.no_repeat_ngram_size = 3}, .scores = false}}) {
    EXPECT_THROW_MESSAGE(
        beam_search(nothing, one_source(), options), c10::Error,
        "beam_search: expected logits without NaN, got NaN in step 2 of sentence 0");
  }
  TableModel pad_only([](int64_t, const std::vector<int64_t>&) {
    return std::vector<double>{0.0, 0.0, 0.0, 1.0};
  });
  EXPECT_THROW_MESSAGE(
      beam_search(pad_only, one_source()), c10::Error,
      "beam_search: expected a token that may be chosen, got probability 0 for all "
      "in step 0 of sentence 0");
}

}  // namespace
}  // namespace attend::beam_search_test
