#include "attend/decoding/continuous_beam_search.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <random>
#include <stdexcept>
#include <utility>
#include <vector>

#include "attend/inference/prepared_model.h"
#include "attend/models/causal_lm.h"
#include "attend/models/seq2seq.h"
#include "support/peak_memory.h"
#include "support/tensor_assert.h"

namespace attend::continuous_beam_search_test {
namespace {

constexpr int64_t kVocab = 61, kDim = 24;

using Ids = std::vector<int64_t>;

template <typename Model>
Model with_random_weights(Model model, int seed) {
  torch::manual_seed(seed);
  const torch::NoGradGuard no_grad;
  for (auto& parameter : model->parameters()) parameter.normal_(0.0, 0.3);
  model->eval();
  return model;
}

std::unique_ptr<PreparedModel> translator(WeightPrecision precision = WeightPrecision::kFloat32) {
  const auto options = Seq2SeqOptions(kVocab, kVocab, kDim, 3, 2).decoder_layers(3).max_length(40);
  return prepare_for_inference(*with_random_weights(Seq2Seq(options), 3), {.precision = precision});
}

std::unique_ptr<PreparedModel> language_model() {
  const auto options = CausalLMOptions(kVocab, kDim, 4, 2).max_length(40);
  return prepare_for_inference(*with_random_weights(CausalLM(options), 4));
}

// Sentences of 1 to 11 tokens.
std::vector<Ids> random_sources(size_t count, std::mt19937& draw) {
  std::vector<Ids> sources(count);
  for (auto& source : sources) {
    source.resize(1 + draw() % 11);
    for (auto& id : source) id = static_cast<int64_t>(draw() % (kVocab - 2));
  }
  return sources;
}

std::vector<Hypothesis> alone(IncrementalModel& model, const Ids& source,
                              const BeamSearchOptions& options) {
  return beam_search(model, torch::tensor(source).unsqueeze(0), options).at(0);
}

void expect_same_bits(const std::vector<Hypothesis>& got, const std::vector<Hypothesis>& expected) {
  ASSERT_EQ(got.size(), expected.size());
  for (size_t n = 0; n < got.size(); ++n) {
    EXPECT_EQ(got[n].tokens, expected[n].tokens);
    EXPECT_EQ(got[n].log_probability, expected[n].log_probability);
    EXPECT_EQ(got[n].score, expected[n].score);
    EXPECT_EQ(got[n].ended, expected[n].ended);
    ASSERT_EQ(got[n].attention.defined(), expected[n].attention.defined());
    if (!got[n].attention.defined()) continue;
    EXPECT_TENSOR_EQUAL(got[n].attention, expected[n].attention);
  }
}

// Admits and cancels at random, and compares what comes out with each sentence's own search.
void expect_each_alone(IncrementalModel& model, const BeamSearchOptions& options, unsigned seed) {
  SCOPED_TRACE(seed);
  std::mt19937 draw(seed);
  const auto sources = random_sources(30, draw);
  ContinuousBeamSearch search(model, options, 1 + static_cast<int64_t>(draw() % 9));
  size_t next = 0, cancelled = 0, compared = 0;
  std::vector<size_t> running;
  while (next < sources.size() || search.size() > 0) {
    for (auto some = draw() % 4; some > 0 && next < sources.size() && search.has_room(); --some) {
      search.admit(next, sources[next]);
      running.push_back(next++);
    }
    if (draw() % 8 == 0 && !running.empty()) {
      const auto at = running.begin() + static_cast<std::ptrdiff_t>(draw() % running.size());
      EXPECT_TRUE(search.cancel(*at));
      EXPECT_FALSE(search.cancel(*at));
      running.erase(at);
      ++cancelled;
    }
    for (const auto& [id, hypotheses, error] : search.step()) {
      EXPECT_EQ(error, nullptr);
      expect_same_bits(hypotheses, alone(model, sources[id], options));
      EXPECT_EQ(std::erase(running, id), 1U);
      ++compared;
    }
    EXPECT_EQ(search.size(), static_cast<int64_t>(running.size()));
  }
  EXPECT_EQ(compared + cancelled, sources.size());
  EXPECT_GT(compared, 10U);
}

std::vector<BeamSearchOptions> searches() {
  return {{.max_new_tokens = 14, .attention = true},
          {.beam_size = 4, .n_best = 3, .max_length_factor = 1.0, .max_length_extra = 4},
          {.beam_size = 3,
           .n_best = 3,
           .max_new_tokens = 9,
           .rules = {.repetition_penalty = 1.3,
                     .no_repeat_ngram_size = 2,
                     .min_new_tokens = 4,
                     .begin_suppress_tokens = {3, 4}}},
          {.beam_size = 4,
           .n_best = 4,
           .early_stopping = EarlyStopping::kTrue,
           .max_length_factor = 0.5,
           .max_length_extra = 3,
           .forced_eos = true,
           .rules = {.bad_words_ids = {{5}, {7}, {11}}},
           .attention = true}};
}

TEST(ContinuousBeamSearch, ASentenceHasTheBitsThatItHasAlone) {
  for (const auto precision :
       {WeightPrecision::kFloat32, WeightPrecision::kBFloat16, WeightPrecision::kInt8}) {
    const auto model = translator(precision);
    for (const auto& options : searches()) {
      for (unsigned seed = 1; seed <= 3; ++seed) expect_each_alone(*model, options, seed);
    }
  }
}

TEST(ContinuousBeamSearch, APromptHasTheBitsThatItHasAlone) {
  const auto model = language_model();
  for (const auto& options : searches()) {
    for (unsigned seed = 1; seed <= 3; ++seed) expect_each_alone(*model, options, seed);
  }
}

TEST(ContinuousBeamSearch, MemoryIsFlatOnEndlessInput) {
  for (const auto& model : {translator(), language_model()}) {
    std::mt19937 draw(7);
    const auto sources = random_sources(400, draw);
    const testing_support::PeakMemory memory;
    ContinuousBeamSearch search(*model,
                                {.beam_size = 3, .max_length_factor = 1.0, .attention = true}, 4);
    int64_t most_of_first = 0, most_of_last = 0, steps = 0;
    for (size_t next = 0; next < sources.size(); ++steps) {
      for (; search.has_room() && next < sources.size(); ++next) search.admit(next, sources[next]);
      (void)search.step();
      auto& most = next < 100 ? most_of_first : most_of_last;
      most = std::max(most, memory.held());
    }
    EXPECT_GT(steps, 500);
    EXPECT_GT(most_of_first, 0);
    // The longest sentences need not have met among the first.
    EXPECT_LE(static_cast<double>(most_of_last), 1.3 * static_cast<double>(most_of_first));
    while (search.size() > 0) (void)search.step();
    EXPECT_LE(memory.held(), 1000);  // ids that are never chosen
  }
}

// Tokens are certain: the source's first token says how many 1s come before the end, 8 that
// the logits are NaN after two steps, 9 that the model fails. States can admit, unless told.
class CountingModel : public IncrementalModel {
 public:
  explicit CountingModel(bool admits = true) : admits_(admits) {}
  SpecialTokenIds special_tokens() const override { return {3, 0, 3}; }
  VocabularySizes vocabulary_sizes() const override { return {12, 4}; }
  int64_t max_target_length() const override { return 10; }

  std::unique_ptr<DecoderState> start(const torch::Tensor& source, const AttentionMask&) override {
    auto state = std::make_unique<State>(admits_);
    for (int64_t b = 0; b < source.size(0); ++b) {
      const auto first = source[b][0].item<int64_t>();
      TORCH_CHECK(first != 10, "no start for 10");
      state->rows.push_back({first, 0});
    }
    started.push_back(source.size(0));
    return state;
  }

  StepOutput step(const torch::Tensor& tokens, DecoderState& state, bool want_alignment) override {
    auto& rows = dynamic_cast<State&>(state).rows;
    EXPECT_EQ(tokens.size(0), static_cast<int64_t>(rows.size()));
    stepped.push_back(tokens.size(0));
    auto logits = torch::full({tokens.size(0), 4}, -std::numeric_limits<double>::infinity());
    for (size_t i = 0; i < rows.size(); ++i) {
      auto& [source, fed] = rows[i];
      if (source == 9) throw std::runtime_error("no step for 9");
      const auto token = fed++ < source ? 1 : 0;
      const double logit = source == 8 && fed > 2 ? std::numeric_limits<double>::quiet_NaN() : 0.0;
      logits[static_cast<int64_t>(i)][token] = logit;
    }
    wanted.push_back(want_alignment);
    return {logits, want_alignment ? torch::ones({tokens.size(0), 7}) : torch::Tensor()};
  }

  Ids started, stepped;  // rows of each call
  std::vector<bool> wanted;

 private:
  struct State : DecoderState {
    explicit State(bool of_model) : admits(of_model) {}
    bool admits;
    std::vector<std::pair<int64_t, int64_t>> rows;  // source and tokens fed
    int64_t position() const override {
      int64_t most = 0;
      for (const auto& [source, fed] : rows) most = std::max(most, fed);
      return most;
    }
    bool can_admit() const override { return admits; }
    void admit(std::unique_ptr<DecoderState> other) override {
      if (!admits) return DecoderState::admit(std::move(other));
      auto& joining = dynamic_cast<State&>(*other).rows;
      rows.insert(rows.end(), joining.begin(), joining.end());
    }
    void reorder(const torch::Tensor& from, const torch::Tensor&) override {
      auto old = std::exchange(rows, {});
      for (int64_t i = 0; i < from.size(0); ++i) {
        rows.push_back(old.at(static_cast<size_t>(from[i].item<int64_t>())));
      }
    }
  };
  bool admits_;
};

// The number of the step, from 1, in which each sentence ends.
std::map<size_t, size_t> steps_until_ended(ContinuousBeamSearch& search) {
  std::map<size_t, size_t> ended;
  for (size_t step = 1; search.size() > 0; ++step) {
    for (const auto& one : search.step()) ended[one.id] = step;
  }
  return ended;
}

TEST(ContinuousBeamSearch, ASentenceLeavesWhenItEndsAndAnotherTakesItsPlace) {
  CountingModel model;
  ContinuousBeamSearch search(model, {}, 2);
  search.admit(50, {4, 1});
  search.admit(60, {1});
  EXPECT_FALSE(search.has_room());
  EXPECT_TRUE(search.step().empty());
  const auto ended = search.step();
  ASSERT_EQ(ended.size(), 1U);
  EXPECT_EQ(ended[0].id, 60U);
  EXPECT_EQ(ended[0].hypotheses.at(0).tokens, (Ids{1}));
  search.admit(70, {1});
  EXPECT_EQ(steps_until_ended(search), (std::map<size_t, size_t>{{50, 3}, {70, 2}}));
  EXPECT_EQ(model.started, (Ids{2, 1}));  // those that wait together start together
  EXPECT_EQ(model.stepped, (Ids{2, 2, 2, 2, 1}));
}

TEST(ContinuousBeamSearch, WhereStatesCannotAdmitTheNextWaitForTheLast) {
  CountingModel model(/*admits=*/false);
  ContinuousBeamSearch search(model, {.beam_size = 2}, 3);
  search.admit(0, {4, 1});
  search.admit(1, {1});
  (void)search.step();
  search.admit(2, {2});
  EXPECT_EQ(steps_until_ended(search), (std::map<size_t, size_t>{{0, 4}, {1, 1}, {2, 7}}));
  EXPECT_EQ(model.started, (Ids{2, 1}));
}

TEST(ContinuousBeamSearch, ACancelledSentenceTakesNoRows) {
  CountingModel model;
  ContinuousBeamSearch search(model, {}, 3);
  for (size_t id = 0; id < 3; ++id) search.admit(id, {4});
  EXPECT_TRUE(search.cancel(1));  // it waits
  (void)search.step();
  EXPECT_TRUE(search.cancel(0));  // it decodes
  EXPECT_FALSE(search.cancel(0));
  (void)search.step();
  EXPECT_TRUE(search.cancel(2));
  EXPECT_EQ(search.size(), 0);
  EXPECT_TRUE(search.step().empty());
  EXPECT_EQ(model.stepped, (Ids{2, 1}));
  search.admit(0, {0});
  EXPECT_EQ(search.step().at(0).id, 0U);
}

std::string message_of(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const c10::Error& e) {
    return e.what_without_backtrace();
  } catch (const std::exception& e) {
    return e.what();
  }
}

// What came of each sentence: its error, or "".
std::map<size_t, std::string> outcomes(ContinuousBeamSearch& search) {
  std::map<size_t, std::string> all;
  while (search.size() > 0) {
    for (const auto& one : search.step()) {
      EXPECT_EQ(one.hypotheses.empty(), one.error != nullptr);
      all[one.id] = one.error ? message_of(one.error) : "";
    }
  }
  return all;
}

TEST(ContinuousBeamSearch, AnErrorOfASentenceEndsThatSentence) {
  CountingModel model;
  ContinuousBeamSearch search(model, {}, 4);
  search.admit(0, {4});
  search.admit(1, {8});
  search.admit(2, {10});
  search.admit(3, {2});
  EXPECT_EQ(outcomes(search),
            (std::map<size_t, std::string>{
                {0, ""},
                {1, "beam_search: expected logits without NaN, got NaN in step 2 of sentence 1"},
                {2, "no start for 10"},
                {3, ""}}));
}

TEST(ContinuousBeamSearch, AnErrorOfTheModelEndsAllThatDecode) {
  CountingModel model;
  ContinuousBeamSearch search(model, {}, 3);
  search.admit(0, {4});
  search.admit(1, {9});
  EXPECT_EQ(outcomes(search),
            (std::map<size_t, std::string>{{0, "no step for 9"}, {1, "no step for 9"}}));
  search.admit(0, {4});
  EXPECT_EQ(outcomes(search), (std::map<size_t, std::string>{{0, ""}}));
}

TEST(ContinuousBeamSearch, ASentenceMayHaveOptionsOfItsOwn) {
  const auto model = translator();
  BeamSearchOptions options{.beam_size = 3, .n_best = 2, .max_new_tokens = 5};
  ContinuousBeamSearch search(*model, options, 3);
  const Ids source{4, 9, 2};
  search.admit(0, source);
  search.admit(1, source, {.n_best = 3, .attention = true});
  search.admit(2, source, {.n_best = 1, .attention = false});
  std::map<size_t, std::vector<Hypothesis>> found;
  while (search.size() > 0) {
    for (auto& one : search.step()) found[one.id] = std::move(one.hypotheses);
  }
  expect_same_bits(found.at(0), alone(*model, source, options));
  options.n_best = 1;
  expect_same_bits(found.at(2), alone(*model, source, options));
  options.n_best = 3;
  options.attention = true;
  expect_same_bits(found.at(1), alone(*model, source, options));
}

TEST(ContinuousBeamSearch, AttentionIsComputedOnlyWhereItIsWanted) {
  CountingModel model;
  ContinuousBeamSearch search(model, {}, 3);
  search.admit(0, {3, 1, 1});
  (void)search.step();
  search.admit(1, {1, 5}, {.attention = true});
  while (search.size() > 0) {
    for (const auto& one : search.step()) {
      const auto& attention = one.hypotheses.at(0).attention;
      ASSERT_EQ(attention.defined(), one.id == 1);
      if (one.id == 1) {
        EXPECT_TENSOR_EQUAL(attention, torch::ones({2, 2}));
      }
    }
  }
  EXPECT_EQ(model.wanted, (std::vector<bool>{false, true, true, false}));
}

TEST(ContinuousBeamSearch, StepsAreToldByIdAndTheSentencesOwnLength) {
  CountingModel model;
  std::vector<std::pair<size_t, size_t>> seen;
  BeamSearchOptions options;
  options.on_step = [&](const BeamStep& step) { seen.emplace_back(step.sentence, step.step); };
  ContinuousBeamSearch search(model, options, 2);
  search.admit(40, {2});
  (void)search.step();
  search.admit(30, {0});
  while (search.size() > 0) (void)search.step();
  EXPECT_EQ(seen, (std::vector<std::pair<size_t, size_t>>{{40, 0}, {40, 1}, {30, 0}, {40, 2}}));
}

TEST(ContinuousBeamSearch, WhatCannotBeAdmittedIsRefusedAtOnce) {
  CountingModel model;
  EXPECT_THROW_MESSAGE(ContinuousBeamSearch(model, {}, 0), c10::ValueError,
                       "ContinuousBeamSearch: expected max_sentences > 0, got 0");
  EXPECT_THROW_MESSAGE(ContinuousBeamSearch(model, {.beam_size = 0}, 1), c10::ValueError,
                       "beam_search: expected beam_size > 0, got 0");
  ContinuousBeamSearch search(model, {.beam_size = 2}, 2);
  search.admit(5, {1});
  EXPECT_THROW_MESSAGE(search.admit(5, {1}), c10::ValueError,
                       "ContinuousBeamSearch: expected an id not in use, got 5");
  EXPECT_THROW_MESSAGE(search.admit(6, {}), c10::ValueError,
                       "ContinuousBeamSearch: expected a source of 1 to 10 tokens, got 0");
  EXPECT_THROW_MESSAGE(search.admit(6, Ids(11, 1)), c10::ValueError,
                       "ContinuousBeamSearch: expected a source of 1 to 10 tokens, got 11");
  EXPECT_THROW_MESSAGE(search.admit(6, {1, 12}), c10::IndexError,
                       "ContinuousBeamSearch: expected source in [0, 12), the vocabulary, got ids "
                       "from 1 to 12");
  EXPECT_THROW_MESSAGE(search.admit(6, {1, -1}), c10::IndexError,
                       "ContinuousBeamSearch: expected source in [0, 12), the vocabulary, got ids "
                       "from -1 to 1");
  EXPECT_THROW_MESSAGE(search.admit(6, {1}, {.n_best = 3}), c10::ValueError,
                       "ContinuousBeamSearch: expected 1 <= n_best <= beam_size 2, got 3");
  search.admit(6, {1});
  EXPECT_THROW_MESSAGE(search.admit(7, {1}), c10::Error,
                       "ContinuousBeamSearch: expected fewer than max_sentences 2, got as many and "
                       "sentence 7");
  EXPECT_EQ(outcomes(search), (std::map<size_t, std::string>{{5, ""}, {6, ""}}));
}

TEST(ContinuousBeamSearch, StatesAdmitThoseOfTheirModelAlone) {
  const auto model = translator(), other = translator();
  const auto source = torch::tensor({{4, 9, 2}});
  const auto state = model->start(source);
  ASSERT_TRUE(state->can_admit());
  EXPECT_THROW_MESSAGE(state->admit(other->start(source)), c10::Error,
                       "PreparedModel: expected a state made by this model's start, got another");
  const auto prompts = language_model();
  EXPECT_THROW_MESSAGE(prompts->start(source)->admit(model->start(source)), c10::Error,
                       "PreparedModel: expected a state made by this model's start, got another");
  Seq2Seq module(Seq2SeqOptions(kVocab, kVocab, kDim, 3, 1));
  const auto of_module = module->start(source);
  EXPECT_FALSE(of_module->can_admit());
  EXPECT_THROW_MESSAGE(of_module->admit(module->start(source)), c10::Error,
                       "DecoderState: expected a state that sentences can join (can_admit), such "
                       "as a prepared model's, got another");
}

}  // namespace
}  // namespace attend::continuous_beam_search_test
