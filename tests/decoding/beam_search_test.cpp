#include "attend/decoding/beam_search.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <map>

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

TEST(BeamSearch, ABeamAsWideAsTheTreeFindsWhatExhaustiveSearchFinds) {
  // Random distributions over 3 tokens; sequences of at most 3 tokens and the end.
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
      if (fed.size() == 4) return;
      for (int64_t token = 1; token <= 2; ++token) {
        auto next = fed;
        next.push_back(token);
        visit(next, so_far + std::log(p[static_cast<size_t>(token)]));
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

TEST(BeamSearch, TheLengthLimitForcesTheEnd) {
  TableModel model([](int64_t, const std::vector<int64_t>&) {
    return std::vector<double>{0.01, 0.9, 0.09, 0.0};
  });
  const auto found =
      beam_search(model, one_source(), {.max_length_factor = 1.0, .max_length_extra = 3});
  EXPECT_EQ(found.at(0).at(0).tokens,
            (std::vector<int64_t>{1, 1, 1, 1}));  // 2 + 3, the end counted
  EXPECT_NEAR(found.at(0).at(0).log_probability, 4 * std::log(0.9) + std::log(0.01), 1e-5);
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
      EXPECT_EQ(both.attention.size(0), static_cast<int64_t>(both.tokens.size()) + 1);
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

TEST(BeamSearch, SuppressedTokensAreNeverChosenNorLookedAt) {
  TableModel model(greedy_trap);
  BeamSearchOptions options{.beam_size = 2, .suppressed_tokens = {1}};
  options.on_step = [](const BeamStep& step) {
    for (const auto& candidate : step.candidates) EXPECT_NE(candidate.token, 1);
  };
  const auto found = beam_search(model, one_source(), options).at(0).at(0);
  EXPECT_EQ(found.tokens, (std::vector<int64_t>{2}));
  // Of what is left of the probability.
  EXPECT_NEAR(found.log_probability, std::log(0.4 / 0.45 * 0.9 / 0.95), 1e-6);
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
  EXPECT_THROW_MESSAGE(beam_search(model, one_source(), {.suppressed_tokens = {1, -1}}),
                       c10::ValueError, "beam_search: expected suppressed_tokens >= 0, got -1");
  EXPECT_THROW_MESSAGE(
      beam_search(model, one_source(), {.suppressed_tokens = {1, 4}}), c10::ValueError,
      "beam_search: expected suppressed_tokens below the 4 tokens of the model, got 4");
}

}  // namespace
}  // namespace attend::beam_search_test
