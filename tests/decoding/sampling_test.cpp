#include "attend/decoding/sampling.h"

#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "attend/models/causal_lm.h"
#include "support/module_checks.h"
#include "support/tensor_assert.h"

namespace attend::sampling_test {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();

torch::Tensor logits() { return torch::tensor({0.0, 2.0, 1.0, -1.0}, torch::kDouble); }

TEST(FilteredLogits, TheTemperatureDivides) {
  EXPECT_TENSOR_NEAR(filtered_logits(logits(), {.temperature = 0.5}), logits() * 2, 1e-15);
}

TEST(FilteredLogits, TopKKeepsTheLikeliest) {
  EXPECT_TRUE(torch::equal(filtered_logits(logits(), {.top_k = 2}),
                           torch::tensor({-kInf, 2.0, 1.0, -kInf}, torch::kDouble)));
  EXPECT_TENSOR_EQUAL(filtered_logits(logits(), {.top_k = 9}), logits());
}

TEST(FilteredLogits, TopPKeepsTheFewestThatHoldEnough) {
  // Probabilities 0.0871, 0.6439, 0.2369, 0.0321.
  const auto kept = [](double p) { return filtered_logits(logits(), {.top_p = p}).isfinite(); };
  EXPECT_TENSOR_EQUAL(kept(0.01), torch::tensor({false, true, false, false}));
  EXPECT_TENSOR_EQUAL(kept(0.64), torch::tensor({false, true, false, false}));
  EXPECT_TENSOR_EQUAL(kept(0.65), torch::tensor({false, true, true, false}));
  EXPECT_TENSOR_EQUAL(kept(0.89), torch::tensor({true, true, true, false}));
  EXPECT_TENSOR_EQUAL(kept(1.0), torch::tensor({true, true, true, true}));
}

TEST(FilteredLogits, TopPCountsWhatTopKLeft) {
  // Of 0.6439 and 0.2369 alone, the first holds 0.731.
  EXPECT_TENSOR_EQUAL(filtered_logits(logits(), {.top_k = 2, .top_p = 0.7}).isfinite(),
                      torch::tensor({false, true, false, false}));
}

// A model without a memory: every next token has the same probabilities.
class Dice : public IncrementalModel {
 public:
  explicit Dice(torch::Tensor probabilities, int64_t room = 1000)
      : logits_(probabilities.log()), room_(room) {}
  SpecialTokenIds special_tokens() const override { return {0, 1, 2}; }
  int64_t max_target_length() const override { return room_; }

  class State : public DecoderState {
   public:
    int64_t position() const override { return 0; }
    void reorder(const torch::Tensor& rows, const torch::Tensor&) override { rows_ = rows.size(0); }
    int64_t rows_ = 0;
  };
  std::unique_ptr<DecoderState> start(const torch::Tensor& source, const AttentionMask&) override {
    auto state = std::make_unique<State>();
    state->rows_ = source.size(0);
    return state;
  }
  StepOutput step(const torch::Tensor& tokens, DecoderState& state, bool) override {
    EXPECT_EQ(tokens.size(0), dynamic_cast<State&>(state).rows_);
    return {logits_.expand({tokens.size(0), -1}).clone(), {}};
  }

 private:
  torch::Tensor logits_;
  int64_t room_;
};

TEST(Sample, DrawsEachTokenAsOftenAsItsProbabilitySays) {
  torch::manual_seed(1);
  // Start and pad are never drawn, which leaves 0.2 to end, 0.3 and 0.5, of 0.2 + 0.3 + 0.5.
  Dice dice(torch::tensor({0.3, 0.1, 0.3, 0.15, 0.25}));
  constexpr int64_t kCount = 4000;
  int64_t third = 0, fourth = 0, ended = 0;
  for (const auto& sequence : sample(dice, torch::zeros({kCount, 1}, torch::kLong))) {
    for (const auto token : sequence.tokens) {
      EXPECT_TRUE(token == 3 || token == 4);
      ++(token == 3 ? third : fourth);
    }
    ended += sequence.ended;
    const double n = static_cast<double>(sequence.tokens.size());
    EXPECT_LT(sequence.log_probability, 0.0);
    EXPECT_GT(sequence.log_probability, (n + 1) * std::log(0.2) - 1e-6);
  }
  EXPECT_EQ(ended, kCount);
  // A geometric number of tokens: (1 - 0.2) / 0.2 a sequence.
  EXPECT_NEAR(static_cast<double>(third + fourth) / kCount, 4.0, 0.3);
  EXPECT_NEAR(static_cast<double>(third) / static_cast<double>(third + fourth), 0.375, 0.02);
}

TEST(Sample, BadWordsAreNeverDrawn) {
  torch::manual_seed(2);
  Dice dice(torch::tensor({0.3, 0.1, 0.3, 0.15, 0.25}));
  const SamplingOptions options{.rules = {.bad_words_ids = {{3}}}};
  for (const auto& sequence : sample(dice, torch::zeros({200, 1}, torch::kLong), options)) {
    for (const auto token : sequence.tokens) EXPECT_EQ(token, 4);
  }
}

TEST(Sample, TheLimitEndsWhatHasNotEnded) {
  Dice dice(torch::tensor({0.1, 1e-30, 0.1, 0.4, 0.4}), 7);
  const auto by_option = sample(dice, torch::zeros({2, 1}, torch::kLong), {.max_new_tokens = 5});
  EXPECT_EQ(by_option[1].tokens.size(), 5U);
  EXPECT_FALSE(by_option[1].ended);
  EXPECT_EQ(sample(dice, torch::zeros({1, 1}, torch::kLong))[0].tokens.size(), 7U);
  EXPECT_TRUE(sample(dice, torch::zeros({0, 1}, torch::kLong)).empty());
}

TEST(Sample, DrawsWhatMultinomialDraws) {
  const auto probabilities = torch::tensor({0.0, 0.2, 0.0, 0.3, 0.1, 0.4});
  Dice dice(probabilities);
  const auto generator = [] { return at::detail::createCPUGenerator(5); };
  const auto sequences =
      sample(dice, torch::zeros({50, 1}, torch::kLong), {.max_new_tokens = 1}, generator());
  const auto expected =
      probabilities.expand({50, -1}).contiguous().multinomial(1, false, generator());
  for (int64_t i = 0; i < 50; ++i) {
    const auto& one = sequences[static_cast<size_t>(i)];
    EXPECT_EQ(one.ended ? 1 : one.tokens.at(0), expected[i][0].item<int64_t>()) << i;
  }
}

TEST(Sample, AnyTemperatureAboveZeroCanBeDrawnWith) {
  Dice dice(torch::tensor({0.0, 0.2, 0.0, 0.3, 0.5}), 6);
  for (const double cold : {1e-3, 1e-30, 1e-40, 1e-300}) {
    const auto one = sample(dice, torch::zeros({1, 1}, torch::kLong), {.temperature = cold})[0];
    EXPECT_EQ(one.tokens, std::vector<int64_t>(6, 4)) << cold;
    EXPECT_NEAR(one.log_probability, 6 * std::log(0.5), 1e-5);
  }
  const auto hot =
      sample(dice, torch::zeros({1, 1}, torch::kLong),
             {.temperature = 1e300, .max_new_tokens = std::numeric_limits<int64_t>::max()})[0];
  for (const auto token : hot.tokens) EXPECT_TRUE(token == 3 || token == 4);
}

TEST(Sample, LogitsThatAreNaNAreAnError) {
  Dice dice(torch::tensor({0.0, 0.2, 0.0, -1.0, 0.5}));  // the logarithm of -1
  EXPECT_THROW_MESSAGE(sample(dice, torch::zeros({2, 1}, torch::kLong)), c10::Error,
                       "sample: expected logits without NaN, got NaN in step 0 of prompt 0");
}

TEST(Sample, TheGeneratorDecides) {
  CausalLM model(CausalLMOptions(13, 8, 2, 1).max_length(20));
  testing_support::randomise(*model);
  model->eval();
  const auto prompt = torch::tensor({{1, 2}, {3, 4}, {5, 6}});
  const auto draw = [&](uint64_t seed) {
    std::vector<std::vector<int64_t>> tokens;
    for (auto& one : sample(*model, prompt, {}, at::detail::createCPUGenerator(seed))) {
      tokens.push_back(one.tokens);
    }
    return tokens;
  };
  EXPECT_EQ(draw(1), draw(1));
  EXPECT_NE(draw(1), draw(2));
}

TEST(Sample, WithOneTokenToChooseItIsGreedy) {
  CausalLM model(CausalLMOptions(13, 8, 2, 1).max_length(12));
  testing_support::randomise(*model);
  model->eval();
  const auto prompt = torch::tensor({{1, 2, 3}});
  const auto got = sample(*model, prompt, {.top_k = 1, .max_new_tokens = 6})[0];
  auto text = prompt;
  double log_probability = 0;
  const torch::NoGradGuard no_grad;
  for (const auto token : got.tokens) {
    const auto scores = torch::log_softmax(model(text)[0][-1], -1);
    EXPECT_EQ(scores.argmax().item<int64_t>(), token);
    log_probability += scores.max().item<double>();
    text = torch::cat({text, torch::full({1, 1}, token, torch::kLong)}, 1);
  }
  if (!got.ended) {
    EXPECT_NEAR(got.log_probability, log_probability, 1e-4);
  }
}

TEST(Sample, ErrorsNameWhatWasExpectedAndGot) {
  Dice dice(torch::ones({5}) / 5);
  const auto prompt = torch::zeros({1, 1}, torch::kLong);
  EXPECT_THROW_MESSAGE(sample(dice, prompt, {.temperature = 0.0}), c10::ValueError,
                       "SamplingOptions: expected a finite temperature > 0, got 0");
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THROW_MESSAGE(sample(dice, prompt, {.temperature = kNan}), c10::ValueError,
                       "SamplingOptions: expected a finite temperature > 0, got nan");
  EXPECT_THROW_MESSAGE(sample(dice, prompt, {.temperature = kInf}), c10::ValueError,
                       "SamplingOptions: expected a finite temperature > 0, got inf");
  EXPECT_THROW_MESSAGE(sample(dice, prompt, {.top_p = kNan}), c10::ValueError,
                       "SamplingOptions: expected 0 < top_p <= 1, got nan");
  EXPECT_THROW_MESSAGE(sample(dice, prompt, {.top_k = -1}), c10::ValueError,
                       "SamplingOptions: expected top_k >= 0, got -1");
  EXPECT_THROW_MESSAGE(sample(dice, prompt, {.top_p = 0.0}), c10::ValueError,
                       "SamplingOptions: expected 0 < top_p <= 1, got 0");
  EXPECT_THROW_MESSAGE(sample(dice, prompt, {.max_new_tokens = 0}), c10::ValueError,
                       "SamplingOptions: expected max_new_tokens > 0, got 0");
  EXPECT_THROW_MESSAGE(sample(dice, prompt, {.rules = {.bad_words_ids = {{1, -1}}}}),
                       c10::ValueError, "SamplingOptions: expected bad_words_ids >= 0, got -1");
}

}  // namespace
}  // namespace attend::sampling_test
