#include "attend/models/causal_lm.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "attend/decoding/beam_search.h"
#include "attend/decoding/sampling.h"
#include "attend/functional/loss.h"
#include "support/module_checks.h"
#include "support/tensor_assert.h"

namespace attend::causal_lm_test {
namespace {

using testing_support::expect_clone_is_equal_and_separate;
using testing_support::expect_save_load_round_trip;
using testing_support::randomise;

constexpr int64_t kV = 11, kE = 12, kH = 3, kLayers = 2, kMaxLength = 9;

CausalLM ready(const CausalLMOptions& options) {
  CausalLM model(options);
  randomise(*model);
  model->to(torch::kDouble);
  model->eval();
  return model;
}

CausalLM small(double dropout = 0.0) {
  return ready(CausalLMOptions(kV, kE, kH, kLayers)
                   .max_length(kMaxLength)
                   .feed_forward_dim(20)
                   .dropout(dropout)
                   .attention_dropout(dropout));
}

struct Setting {
  const char* name;
  CausalLMOptions options;
};

// Models that differ in what tells positions apart, and in their parts.
std::vector<Setting> settings() {
  using Attention = MultiHeadAttentionOptions;
  const auto of = [](const Attention& attention) {
    return CausalLMOptions(kV, TransformerLayerOptions(attention).norm_order(NormOrder::kPre),
                           kLayers)
        .max_length(kMaxLength);
  };
  const auto llama =
      TransformerLayerOptions(Attention(kE, kH).num_kv_heads(1).rotary(RotaryOptions{}))
          .feed_forward(FeedForwardOptions(kE, 20).gated(true).activation(Activation::kSwish))
          .norm(NormKind::kRms)
          .norm_order(NormOrder::kPre)
          .bias(false);
  return {
      {"GPT-2", CausalLMOptions(kV, kE, kH, kLayers).max_length(kMaxLength)},
      {"Llama", CausalLMOptions(kV, llama, kLayers)
                    .max_length(kMaxLength)
                    .positions(PositionKind::kNone)
                    .tie_output(false)},
      {"ALiBi", of(Attention(kE, kH).alibi(true)).positions(PositionKind::kNone)},
      {"relative bias", of(Attention(kE, kH).relative_bias(RelativeBiasOptions{8, 6, false}))
                            .positions(PositionKind::kNone)},
      {"sinusoids", of(Attention(kE, kH)).positions(PositionKind::kSinusoidal)},
      {"window", of(Attention(kE, kH).rotary(RotaryOptions{}).window(AttentionWindow{2, 0}))
                     .positions(PositionKind::kNone)},
      {"keys of its own", of(Attention(kE, kH).sinks(true).add_bias_kv(true).add_zero_attn(true))},
      {"post-norm", CausalLMOptions(kV, TransformerLayerOptions(kE, kH), kLayers)
                        .max_length(kMaxLength)
                        .tie_output(false)}};
}

torch::Tensor ids(int64_t batch, int64_t length) {
  return torch::randint(0, kV - 1, {batch, length}, torch::kLong);
}

TEST(CausalLM, ChangingTheFutureLeavesThePastUnchanged) {
  auto model = small();
  const auto before = ids(2, 6);
  auto after = before.clone();
  after.narrow(1, 4, 2).add_(1).remainder_(kV);
  const auto a = model(before), b = model(after);
  EXPECT_TENSOR_NEAR(a.narrow(1, 0, 4), b.narrow(1, 0, 4), 1e-12);
  EXPECT_GT((a - b).narrow(1, 4, 2).abs().max().item<double>(), 0.0);
}

TEST(CausalLM, StepsEqualTheFullPass) {
  for (const auto& [name, options] : settings()) {
    SCOPED_TRACE(name);
    auto model = ready(options);
    const auto text = ids(3, 7);
    const auto full = model->run(text, {}, WeightsRequest::kMean);
    for (const int64_t prompt : {1, 4}) {
      SCOPED_TRACE(prompt);
      const auto state = model->start(text.narrow(1, 0, prompt));
      EXPECT_EQ(state->position(), prompt - 1);
      EXPECT_TENSOR_EQUAL(state->first_tokens(), text.select(1, prompt - 1));
      for (int64_t t = prompt - 1; t < 7; ++t) {
        const auto step = model->step(text.select(1, t), *state, /*want_alignment=*/true);
        EXPECT_TENSOR_NEAR(step.logits, full.logits.select(1, t), 1e-12);
        EXPECT_TENSOR_NEAR(step.alignment, full.weights.back().select(1, t).narrow(1, 0, t + 1),
                           1e-12);
      }
    }
  }
}

TEST(CausalLM, PromptsOfDifferentLengthsGoOnAsIfAlone) {
  const std::vector<int64_t> lengths{4, 1, 2};
  const int64_t longest = 4;
  for (const auto& [name, options] : settings()) {
    SCOPED_TRACE(name);
    auto model = ready(options);
    const auto text = ids(3, longest);
    const auto real = torch::arange(longest).ge(longest - torch::tensor(lengths).unsqueeze(1));
    const auto next = ids(3, 2);
    const auto state = model->start(text, AttentionMask::padding(real));
    std::vector<torch::Tensor> together;
    auto tokens = state->first_tokens();
    for (int64_t t = 0; t < 3; ++t) {
      together.push_back(model->step(tokens, *state).logits);
      if (t < 2) tokens = next.select(1, t);
    }
    for (int64_t b = 0; b < 3; ++b) {
      const auto length = lengths[static_cast<size_t>(b)];
      const auto alone = torch::cat({text[b].narrow(0, longest - length, length), next[b]});
      const auto logits = model(alone.unsqueeze(0))[0];
      for (int64_t t = 0; t < 3; ++t) {
        EXPECT_TENSOR_NEAR(together[static_cast<size_t>(t)][b], logits[length - 1 + t], 1e-12);
      }
    }
    // Rows that are regrouped keep their padding.
    const auto again = model->start(text, AttentionMask::padding(real));
    const auto rows = torch::tensor({2, 2, 0, 1});
    again->reorder(rows, rows);
    EXPECT_TENSOR_NEAR(model->step(again->first_tokens(), *again).logits,
                       together[0].index_select(0, rows), 1e-12);
  }
}

TEST(CausalLM, PaddedPromptsAreContinuedAsIfAlone) {
  auto model = small();
  const auto prompt = ids(2, 4);
  const auto real = torch::tensor({{0, 0, 1, 1}, {1, 1, 1, 1}}).to(torch::kBool);
  const auto alone = {prompt[0].narrow(0, 2, 2).unsqueeze(0), prompt[1].unsqueeze(0)};
  const auto mask = AttentionMask::padding(real);
  const BeamSearchOptions search{.beam_size = 2, .max_new_tokens = 3};
  const SamplingOptions likeliest{.top_k = 1, .max_new_tokens = 3};
  const auto found = beam_search(*model, prompt, search, mask);
  const auto drawn = sample(*model, prompt, likeliest, std::nullopt, mask);
  size_t b = 0;
  for (const auto& row : alone) {
    EXPECT_EQ(found[b].front().tokens, beam_search(*model, row, search)[0].front().tokens);
    EXPECT_EQ(drawn[b].tokens, sample(*model, row, likeliest)[0].tokens);
    ++b;
  }
}

TEST(CausalLM, ItsLossIsTheCrossEntropyOfItsLogits) {
  for (const auto& [name, options] : settings()) {
    SCOPED_TRACE(name);
    auto model = ready(options);
    const auto text = ids(2, 7);
    auto labels = text.roll(-1, 1).clone();
    labels.select(1, 6).fill_(-100);
    const auto loss = model->loss_sum(text, labels, -100, 0.1);
    EXPECT_TENSOR_NEAR(loss, functional::cross_entropy_sum(model(text), labels, -100, 0.1), 1e-10);
    loss.backward();
    for (const auto& parameter : model->named_parameters()) {
      EXPECT_TRUE(parameter.value().grad().defined()) << parameter.key();
    }
  }
}

TEST(CausalLM, APromptsMaskIsPaddingOnTheLeft) {
  auto model = small();
  const auto prompt = ids(2, 3);
  for (const auto& real :
       {torch::tensor({{1, 1, 0}, {1, 1, 1}}), torch::tensor({{1, 0, 1}, {1, 1, 1}}),
        torch::tensor({{0, 0, 0}, {1, 1, 1}})}) {
    EXPECT_THROW_MESSAGE(model->start(prompt, AttentionMask::padding(real.to(torch::kBool))),
                         c10::Error,
                         "CausalLM: expected prompts of at least 1 token, padded on the left, got "
                         "padding elsewhere");
  }
  EXPECT_THROW_MESSAGE(model->start(prompt, AttentionMask(torch::zeros({2, 1, 1, 3}))), c10::Error,
                       "CausalLM: expected a prompt's mask to be of padding alone, got another");
}

TEST(CausalLM, ReorderedRowsGoOnWithTheirOwnPast) {
  auto model = small();
  const auto text = ids(3, 4);
  const auto state = model->start(text);
  const auto rows = torch::tensor({2, 0, 2, 1});
  state->reorder(rows, rows);
  EXPECT_TENSOR_NEAR(model->step(state->first_tokens(), *state).logits,
                     model(text).select(1, 3).index_select(0, rows), 1e-12);
}

TEST(CausalLM, TextsThatShareARowDoNotSeeEachOther) {
  auto model = small();
  const auto row = ids(1, 6);
  const auto segments = torch::tensor({{0, 0, 0, 1, 1, 1}});
  auto changed = row.clone();
  changed.narrow(1, 0, 3).add_(1).remainder_(kV);
  const auto mask = AttentionMask::segments(segments);
  EXPECT_TENSOR_NEAR(model(row, mask).narrow(1, 3, 3), model(changed, mask).narrow(1, 3, 3), 1e-12);
}

TEST(CausalLM, BeamSearchContinuesThePrompt) {
  auto model = small();
  const auto prompt = ids(2, 3);
  const auto found = beam_search(*model, prompt, {.max_length_factor = 0, .max_length_extra = 4});
  for (int64_t b = 0; b < 2; ++b) {
    auto text = prompt.narrow(0, b, 1);
    for (const auto token : found[static_cast<size_t>(b)].front().tokens) {
      auto logits = model(text)[0][-1].clone();
      EXPECT_EQ(logits.argmax().item<int64_t>(), token);
      text = torch::cat({text, torch::full({1, 1}, token, torch::kLong)}, 1);
    }
  }
}

TEST(CausalLM, BeamSearchRecordsTheAttentionToAllPositions) {
  auto model = small();
  const auto prompt = ids(2, 3);
  const auto found = beam_search(*model, prompt,
                                 {.beam_size = 2,
                                  .n_best = 2,
                                  .max_length_factor = 0,
                                  .max_length_extra = 4,
                                  .attention = true});
  for (int64_t b = 0; b < 2; ++b) {
    for (const auto& one : found[static_cast<size_t>(b)]) {
      const auto text =
          torch::cat({prompt[b], torch::tensor(one.tokens, torch::kLong)}).unsqueeze(0);
      const auto rows = static_cast<int64_t>(one.tokens.size()) + (one.ended ? 1 : 0);
      ASSERT_EQ(one.attention.size(0), rows);
      const auto weights = model->run(text, {}, WeightsRequest::kMean).weights.back()[0];
      const auto expected = weights.narrow(0, 2, rows);
      const auto columns = std::min(expected.size(1), one.attention.size(1));
      EXPECT_TENSOR_NEAR(one.attention.narrow(1, 0, columns), expected.narrow(1, 0, columns), 1e-6);
      EXPECT_TENSOR_NEAR(one.attention.sum(1), torch::ones({rows}), 1e-6);
    }
  }
}

TEST(CausalLM, IdsOutsideTheVocabularyNameTheInputAndBothNumbers) {
  auto model = small();
  const auto text = torch::tensor({{1, 2, 14, 4}});
  EXPECT_THROW_MESSAGE(model(text), c10::IndexError,
                       "CausalLM: expected ids in [0, 11), the vocabulary, got ids from 1 to 14");
  EXPECT_THROW_MESSAGE(
      model->start(text), c10::IndexError,
      "CausalLM: expected prompt in [0, 11), the vocabulary, got ids from 1 to 14");
  EXPECT_THROW_MESSAGE(
      sample(*model, text), c10::IndexError,
      "CausalLM: expected prompt in [0, 11), the vocabulary, got ids from 1 to 14");
  EXPECT_THROW_MESSAGE(
      sample(*model, torch::tensor({{1, 2, -4}})), c10::IndexError,
      "CausalLM: expected prompt in [0, 11), the vocabulary, got ids from -4 to 2");
  const auto state = model->start(ids(2, 1));
  EXPECT_THROW_MESSAGE(model->step(torch::tensor({3, 11}), *state), c10::IndexError,
                       "CausalLM::step: expected tokens in [0, 11), the vocabulary, got ids from 3 "
                       "to 11");
}

TEST(CausalLM, ClonesAndFiles) {
  auto model = small(0.1);
  expect_clone_is_equal_and_separate(*model, *model->clone());
  auto other = small(0.1);
  expect_save_load_round_trip(model, other);
}

TEST(CausalLM, ErrorsNameWhatWasExpectedAndGot) {
  auto model = small();
  EXPECT_THROW_MESSAGE(CausalLM(CausalLMOptions(kV, 10, 3, 1)), c10::ValueError,
                       "CausalLM: expected embed_dim divisible by num_heads, got embed_dim 10 and "
                       "num_heads 3");
  EXPECT_THROW_MESSAGE(CausalLM(CausalLMOptions(kV, kE, kH, 0)), c10::ValueError,
                       "CausalLM: expected num_layers > 0, got 0");
  EXPECT_THROW_MESSAGE(CausalLM(CausalLMOptions(kV, kE, kH, 1).eos_id(kV)), c10::ValueError,
                       "CausalLM: expected eos_id in [0, 11), got 11");
  EXPECT_THROW_MESSAGE(model->start(ids(1, 0)), c10::ValueError,
                       "CausalLM: expected a prompt of at least 1 token, got 0");
  EXPECT_THROW_MESSAGE(model(torch::zeros({1, 2})), c10::Error,
                       "CausalLM: expected ids of dtype Long or Int, got Float");
  EXPECT_THROW_MESSAGE(sample(*model, ids(1, kMaxLength + 1)), c10::ValueError,
                       "sample: expected a prompt that leaves room for tokens, got 10 tokens of at "
                       "most 9");
}

}  // namespace
}  // namespace attend::causal_lm_test
