#include "attend/inference/prepared_model.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>
#include <set>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "attend/decoding/beam_search.h"
#include "attend/decoding/sampling.h"
#include "attend/models/causal_lm.h"
#include "attend/models/recurrent_seq2seq.h"
#include "attend/models/seq2seq.h"
#include "kernels/cpu/instruction_set.h"
#include "support/tensor_assert.h"

namespace attend::prepared_model_test {
namespace {

using Attention = MultiHeadAttentionOptions;

constexpr int kVocab = 71, kDim = 24, kDraws = 3;
constexpr double kEpsilon = std::numeric_limits<float>::epsilon();

template <typename Model>
void draw_weights(Model& model) {
  const torch::NoGradGuard no_grad;
  for (auto& parameter : model->parameters()) parameter.normal_(0.0, 0.3);
  model->eval();
}

// The same model in float64: the reference.
template <typename Model>
Model in_float64(const Model& model) {
  Model copy(std::dynamic_pointer_cast<typename Model::Impl>(model->clone()));
  copy->to(torch::kDouble);
  copy->eval();
  return copy;
}

Seq2SeqOptions translator() {
  return Seq2SeqOptions(kVocab, kVocab, kDim, 3, 2).decoder_layers(3).max_length(40);
}

// Layers of any kind, whose positions are the attention's.
Seq2SeqOptions with_layers(const TransformerLayerOptions& layer) {
  return Seq2SeqOptions(kVocab, kVocab, layer, 2).positions(PositionKind::kNone).max_length(40);
}

TransformerLayerOptions llama_layer(const RotaryOptions& rotary = {}) {
  return TransformerLayerOptions(Attention(kDim, 6).num_kv_heads(2).rotary(rotary))
      .feed_forward(FeedForwardOptions(kDim, 40).gated(true).activation(Activation::kSwish))
      .norm(NormKind::kRms)
      .norm_order(NormOrder::kPre)
      .bias(false);
}

TransformerLayerOptions other_variants() {
  return TransformerLayerOptions(Attention(kDim, 3)
                                     .qk_norm(true)
                                     .soft_cap(1.5)
                                     .scale(0.7)
                                     .sinks(true)
                                     .alibi(true)
                                     .window(AttentionWindow{.left = 2}))
      .activation(Activation::kGeluTanh);
}

TransformerLayerOptions other_variants_with_memory() {
  return other_variants().cross_attention(
      Attention(kDim, 6).num_kv_heads(2).qk_norm(true).soft_cap(2.5));
}

std::vector<std::pair<std::string, Seq2SeqOptions>> translators() {
  return {
      {"post-norm", translator()},
      {"pre-norm", translator().norm_order(NormOrder::kPre).activation(Activation::kGelu)},
      {"separate embeddings, own output layer",
       translator().tgt_vocab(83).share_embeddings(false).tie_output(false)},
      {"fewer target tokens, fed first one that is never predicted",
       Seq2SeqOptions(kVocab, 60, kDim, 3, 2)
           .share_embeddings(true)
           .pad_id(kVocab - 1)
           .start_id(kVocab - 1)
           .max_length(40)},
      {"learned positions, not scaled",
       translator().positions(PositionKind::kLearned).scale_embedding(false)},
      {"Llama's layers", with_layers(llama_layer())},
      {"other variants", with_layers(other_variants_with_memory())},
      {"no encoder layers", translator().encoder_layers(0)},
  };
}

std::vector<std::pair<std::string, CausalLMOptions>> language_models() {
  const CausalLMOptions gpt2(kVocab, kDim, 4, 2);
  const auto with = [](const TransformerLayerOptions& layer) {
    return CausalLMOptions(kVocab, layer, 2).positions(PositionKind::kNone).max_length(40);
  };
  return {
      {"GPT-2", CausalLMOptions(gpt2).max_length(40)},
      {"Llama", with(llama_layer()).tie_output(false)},
      {"Llama 3's rotary scaling", with(llama_layer({.base = 500,
                                                     .scaling = {.kind = RotaryScalingKind::kLlama3,
                                                                 .factor = 4,
                                                                 .original_max_length = 16}}))},
      {"GPT-J's rotary pairs, of a part of each head",
       with(llama_layer({.dim = 2, .pairing = RotaryPairing::kInterleaved}))},
      {"other variants", with(other_variants())},
  };
}

// Three sources of 7, 4 and 1 tokens.
torch::Tensor sources(int64_t pad) {
  return torch::tensor({{2L, 3L, 4L, 5L, 9L, 8L, 0L},
                        {6L, 7L, 1L, 0L, pad, pad, pad},
                        {0L, pad, pad, pad, pad, pad, pad}});
}

// The logits and alignments of steps with the same tokens, which reorder hypotheses on the way.
std::vector<torch::Tensor> steps(IncrementalModel& model, const torch::Tensor& source,
                                 const AttentionMask& mask = {}) {
  const torch::InferenceMode inference;
  std::vector<torch::Tensor> results;
  const auto state = model.start(source, mask);
  auto tokens = state->first_tokens();
  if (!tokens.defined()) tokens = torch::full({source.size(0)}, model.special_tokens().start_id);
  const auto step = [&](const torch::Tensor& fed) {
    auto result = model.step(fed, *state, /*want_alignment=*/true);
    results.push_back(result.logits.to(torch::kDouble));
    results.push_back(result.alignment.to(torch::kDouble));
  };
  step(tokens);
  state->reorder(torch::tensor({0, 0, 1, 1, 2, 2}));
  for (int64_t i = 0; i < 3; ++i) step(torch::tensor({1, 2, 3, 4, 5, 6}) + i);
  state->reorder(torch::tensor({1, 0, 2, 2, 5, 4}));
  step(torch::tensor({9, 8, 7, 6, 5, 4}));
  state->reorder(torch::tensor({3, 2, 4, 4}), torch::tensor({1, 2}));
  for (int64_t i = 0; i < 40 - 10 - 5; ++i) step(torch::tensor({1, 2, 3, 4}) + i);
  return results;
}

double largest_difference(const std::vector<torch::Tensor>& a,
                          const std::vector<torch::Tensor>& b) {
  EXPECT_EQ(a.size(), b.size());
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].sizes(), b[i].sizes());
    largest = std::max(largest, (a[i] - b[i]).abs().max().item<double>());
  }
  return largest;
}

double largest(const std::vector<torch::Tensor>& all) {
  double result = 0;
  for (const auto& one : all) result = std::max(result, one.abs().max().item<double>());
  return result;
}

// Beside float64, the prepared model may be wrong by twice what the module is.
template <typename Model, typename Options>
void expect_the_modules_steps(const std::string& name, const Options& options,
                              const torch::Tensor& source, const AttentionMask& mask = {}) {
  SCOPED_TRACE(name);
  double of_module = 0, of_prepared = 0, most = 0;
  for (int draw = 0; draw < kDraws; ++draw) {
    torch::manual_seed(11 + draw);
    Model model(options);
    draw_weights(model);
    auto exact = in_float64(model);
    const auto expected = steps(*exact, source, mask);
    const auto prepared = prepare_for_inference(*model);
    of_module = std::max(of_module, largest_difference(steps(*model, source, mask), expected));
    of_prepared =
        std::max(of_prepared, largest_difference(steps(*prepared, source, mask), expected));
    most = std::max(most, largest(expected));
  }
  EXPECT_LE(of_prepared, 2 * of_module + 4 * kEpsilon * most);
}

TEST(PreparedModel, ASeq2SeqsStepsAreTheModules) {
  for (const auto& [name, options] : translators()) {
    expect_the_modules_steps<Seq2Seq>(name, options, sources(options.pad_id()));
  }
}

TEST(PreparedModel, ACausalLMsStepsAreTheModules) {
  const auto prompts = torch::tensor({{2L, 3L, 4L, 5L}, {6L, 7L, 1L, 0L}, {8L, 9L, 3L, 3L}});
  const auto padding = AttentionMask::padding(torch::tensor(
      {{true, true, true, true}, {false, false, true, true}, {false, false, false, true}}));
  for (const auto& [name, options] : language_models()) {
    expect_the_modules_steps<CausalLM>(name, options, prompts);
    expect_the_modules_steps<CausalLM>(name + ", padded", options, prompts, padding);
    expect_the_modules_steps<CausalLM>(name + ", prompts of a token", options,
                                       prompts.narrow(1, 0, 1));
  }
}

TEST(PreparedModel, AMaskMayHideAnySourceToken) {
  const auto source = torch::tensor({{2L, 3L, 4L, 5L}, {6L, 7L, 1L, 0L}, {8L, 9L, 3L, 3L}});
  const auto mask = AttentionMask::padding(torch::tensor(
      {{true, false, true, true}, {false, true, true, false}, {true, true, true, true}}));
  expect_the_modules_steps<Seq2Seq>("", translator(), source, mask);
}

// A row is one sum after another, whatever other rows there are.
TEST(PreparedModel, BitsDoNotDependOnTheBatch) {
  torch::manual_seed(5);
  Seq2Seq model(translator());
  draw_weights(model);
  for (const auto precision :
       {WeightPrecision::kFloat32, WeightPrecision::kBFloat16, WeightPrecision::kInt8}) {
    const auto prepared = prepare_for_inference(*model, {.precision = precision});
    const auto all = sources(kVocab - 1);
    const auto together = prepared->start(all);
    const auto tokens = torch::tensor({1, 2, 3});
    const auto first = prepared->step(tokens, *together).logits.clone();
    const auto second = prepared->step(tokens + 4, *together).logits.clone();
    const std::vector<int64_t> lengths{7, 4, 1};
    for (int64_t b = 0; b < 3; ++b) {
      const auto alone =
          prepared->start(all.narrow(0, b, 1).narrow(1, 0, lengths[static_cast<size_t>(b)]));
      const auto own = tokens.narrow(0, b, 1);
      EXPECT_TRUE(torch::equal(prepared->step(own, *alone).logits[0], first[b]));
      EXPECT_TRUE(torch::equal(prepared->step(own + 4, *alone).logits[0], second[b]));
    }
  }
}

// Rounding the module's weights gives the same model, but for the tables of tokens and positions: to the
// bit where inputs stay float32.
TEST(PreparedModel, BFloat16RoundsWeights) {
  torch::manual_seed(6);
  Seq2Seq model(translator().tie_output(false));
  draw_weights(model);
  const auto prepared = prepare_for_inference(*model, {.precision = WeightPrecision::kBFloat16});
  {
    const torch::NoGradGuard no_grad;
    for (const auto& parameter : model->named_parameters()) {
      const bool is_linear = parameter.key().ends_with(".weight") && parameter.value().dim() == 2 &&
                             parameter.key().find("shared") == std::string::npos;
      if (is_linear) parameter.value().copy_(parameter.value().to(torch::kBFloat16));
    }
  }
  const auto rounded = prepare_for_inference(*model);
  const auto a = steps(*prepared, sources(kVocab - 1)), b = steps(*rounded, sources(kVocab - 1));
  if (kernels::prefers_bfloat16_products()) {  // inputs of products are rounded too
    EXPECT_NE(largest_difference(a, b), 0.0);
    EXPECT_LT(largest_difference(a, b), 0.03);
    return;
  }
  for (size_t i = 0; i < a.size(); ++i) EXPECT_TRUE(torch::equal(a[i], b[i])) << i;
}

// Each weight is off by at most half of a 127th of its row's largest, each input likewise.
TEST(PreparedModel, Int8IsNear) {
  torch::manual_seed(7);
  Seq2Seq model(translator());
  draw_weights(model);
  const auto exact = prepare_for_inference(*model);
  const auto prepared = prepare_for_inference(*model, {.precision = WeightPrecision::kInt8});
  const auto expected = steps(*exact, sources(kVocab - 1));
  const auto actual = steps(*prepared, sources(kVocab - 1));
  EXPECT_NE(largest_difference(actual, expected), 0.0);
  for (size_t i = 0; i < expected.size(); i += 2) {  // logits
    const auto distance = (actual[i] - expected[i]).norm() / expected[i].norm();
    EXPECT_LT(distance.item<double>(), 0.05);
  }
}

TEST(PreparedModel, WeightsAreCounted) {
  Seq2Seq model(Seq2SeqOptions(640, 640, 64, 4, 1).feed_forward_dim(128));
  // Encoder 4 E^2 + 2 E F, decoder 8 E^2 + 2 E F, and the output layer.
  constexpr size_t kWeights = 4 * 64 * 64 + 2 * 64 * 128 + 8 * 64 * 64 + 2 * 64 * 128 + 640 * 64;
  EXPECT_EQ(prepare_for_inference(*model)->weight_bytes(), 4 * kWeights);
  EXPECT_EQ(
      prepare_for_inference(*model, {.precision = WeightPrecision::kBFloat16})->weight_bytes(),
      2 * kWeights);
  EXPECT_EQ(prepare_for_inference(*model, {.precision = WeightPrecision::kInt8})->weight_bytes(),
            kWeights);
}

constexpr double kNear = 1e-4;

// Whether rounding cannot change the place of a hypothesis.
bool is_apart(const std::vector<Hypothesis>& hypotheses, size_t n) {
  const auto is_near = [&](size_t other) {
    return std::abs(hypotheses[n].score - hypotheses[other].score) < 2 * kNear;
  };
  return !(n > 0 && is_near(n - 1)) && !(n + 1 < hypotheses.size() && is_near(n + 1));
}

TEST(PreparedModel, SearchFindsTheModulesHypotheses) {
  torch::manual_seed(8);
  int compared = 0;
  for (const auto& [name, options] : translators()) {
    SCOPED_TRACE(name);
    Seq2Seq model(options);
    draw_weights(model);
    const auto prepared = prepare_for_inference(*model);
    for (const int64_t beam : {1, 4}) {
      const BeamSearchOptions search{
          .beam_size = beam, .n_best = beam, .max_new_tokens = 12, .attention = true};
      const auto expected = beam_search(model, sources(options.pad_id()), search);
      const auto found = beam_search(*prepared, sources(options.pad_id()), search);
      ASSERT_EQ(found.size(), expected.size());
      for (size_t b = 0; b < found.size(); ++b) {
        ASSERT_EQ(found[b].size(), expected[b].size());
        for (size_t n = 0; n < found[b].size(); ++n) {
          EXPECT_NEAR(found[b][n].score, expected[b][n].score, kNear);
          if (!is_apart(expected[b], n)) continue;
          EXPECT_EQ(found[b][n].tokens, expected[b][n].tokens);
          EXPECT_TRUE(torch::allclose(found[b][n].attention, expected[b][n].attention, 1e-3, 1e-4));
          ++compared;
        }
      }
    }
  }
  EXPECT_GT(compared, 60);
}

constexpr auto kPrecisions = {WeightPrecision::kFloat32, WeightPrecision::kBFloat16,
                              WeightPrecision::kInt8};

void expect_equal_hypotheses(const std::vector<Hypothesis>& found,
                             const std::vector<Hypothesis>& expected) {
  ASSERT_EQ(found.size(), expected.size());
  for (size_t n = 0; n < found.size(); ++n) {
    EXPECT_EQ(found[n].tokens, expected[n].tokens) << n;
    EXPECT_EQ(found[n].score, expected[n].score) << n;
    EXPECT_EQ(found[n].ended, expected[n].ended) << n;
  }
}

// A model's logits, of which others have to find the best.
class OnlyLogits : public IncrementalModel {
 public:
  explicit OnlyLogits(IncrementalModel& model) : model_(model) {}
  SpecialTokenIds special_tokens() const override { return model_.special_tokens(); }
  int64_t max_target_length() const override { return model_.max_target_length(); }
  std::unique_ptr<DecoderState> start(const torch::Tensor& source,
                                      const AttentionMask& mask) override {
    return model_.start(source, mask);
  }
  StepOutput step(const torch::Tensor& tokens, DecoderState& state, bool want_alignment) override {
    return model_.step(tokens, state, want_alignment);
  }

 private:
  IncrementalModel& model_;
};

// More tokens than are looked at together, and not a multiple of them.
constexpr int kLargeVocab = 700;

std::vector<std::pair<std::string, std::unique_ptr<PreparedModel>>> large_models() {
  torch::manual_seed(16);
  Seq2Seq translator(Seq2SeqOptions(kLargeVocab, kLargeVocab, kDim, 3, 1).max_length(40));
  CausalLM causal(CausalLMOptions(kLargeVocab, kDim, 4, 1).max_length(40));
  draw_weights(translator);
  draw_weights(causal);
  std::vector<std::pair<std::string, std::unique_ptr<PreparedModel>>> models;
  for (const auto precision : kPrecisions) {
    const auto name = std::to_string(static_cast<int>(precision));
    models.emplace_back("Seq2Seq " + name,
                        prepare_for_inference(*translator, {.precision = precision}));
    models.emplace_back("CausalLM " + name,
                        prepare_for_inference(*causal, {.precision = precision}));
  }
  return models;
}

// Runs f with each of some numbers of threads.
template <typename F>
void with_threads(const F& f) {
  const auto before = torch::get_num_threads();
  for (const int threads : {1, 2, 3}) {
    torch::set_num_threads(threads);
    f();
  }
  torch::set_num_threads(before);
}

TEST(PreparedModel, TheBestTokensAreThoseOfItsLogits) {
  struct Case {
    int64_t rows, count;
    Normaliser normaliser;
  };
  const auto excluded = torch::tensor({0L, 255L, 256L, 699L});
  for (const auto& [name, prepared] : large_models()) {
    auto* const model = prepared.get();
    for (const auto& [rows, count, normaliser] :
         {Case{1, 1, Normaliser::kAll}, Case{3, 10, Normaliser::kAllowed},
          Case{2, kLargeVocab + 1, Normaliser::kNone}, Case{300, 5, Normaliser::kAll}}) {
      SCOPED_TRACE(name + ", " + std::to_string(rows));
      const auto source = torch::full({rows, 1}, 5L);
      const auto tokens = torch::arange(rows) % 20;
      const auto logits = model->step(tokens, *model->start(source)).logits.to(torch::kDouble);
      auto expected = logits.index_fill(1, excluded, -std::numeric_limits<double>::infinity());
      if (normaliser == Normaliser::kAll) expected = expected - logits.logsumexp(1, true);
      if (normaliser == Normaliser::kAllowed) expected = torch::log_softmax(expected, 1);
      const auto request = BestTokensRequest{count, excluded, normaliser};
      const auto found = *model->step_best(tokens, *model->start(source), request).best;
      ASSERT_EQ(found.count, std::min<int64_t>(count, kLargeVocab));
      const auto values = torch::tensor(found.log_probabilities, torch::kDouble).view({rows, -1});
      const auto places = torch::tensor(found.tokens).view({rows, -1});
      EXPECT_TRUE(torch::allclose(values, std::get<0>(expected.topk(found.count, 1)), 1e-5, 1e-5));
      EXPECT_TRUE(torch::allclose(values, expected.gather(1, places), 1e-5, 1e-5));
      with_threads([&] {
        const auto other = *model->step_best(tokens, *model->start(source), request).best;
        EXPECT_EQ(other.log_probabilities, found.log_probabilities);
        EXPECT_EQ(other.tokens, found.tokens);
      });
    }
  }
}

TEST(PreparedModel, SearchIsToldOfNaN) {
  Seq2Seq model(translator());
  {
    const torch::NoGradGuard no_grad;
    model->final_logits_bias[0][5].fill_(std::numeric_limits<double>::quiet_NaN());
  }
  const auto prepared = prepare_for_inference(*model);
  for (const bool scores : {true, false}) {
    EXPECT_THROW_MESSAGE(
        beam_search(*prepared, sources(kVocab - 1), {.scores = scores}), c10::Error,
        "beam_search: expected logits without NaN, got NaN in step 0 of sentence 0");
  }
}

TEST(PreparedModel, SearchFindsTheSameInItsLogits) {
  const auto source = torch::tensor({{2L, 3L, 4L, 5L}, {6L, 7L, 1L, 600L}, {8L, 9L, 3L, 3L}});
  for (const auto& [name, prepared] : large_models()) {
    SCOPED_TRACE(name);
    auto* const model = prepared.get();
    OnlyLogits logits(*model);
    for (const int64_t beam : {1, 5}) {
      for (const bool shared : {false, true}) {
        const BeamSearchOptions search{.beam_size = beam,
                                       .n_best = beam,
                                       .max_new_tokens = 6,
                                       .rules = {.bad_words_ids = {{7}, {20}, {600}}},
                                       .renormalize_logits = shared};
        const auto expected = beam_search(logits, source, search);
        with_threads([&] {
          const auto found = beam_search(*model, source, search);
          for (size_t b = 0; b < 3; ++b) expect_equal_hypotheses(found[b], expected[b]);
          const auto alone = beam_search(*model, source.narrow(0, 1, 1), search);
          expect_equal_hypotheses(alone[0], expected[1]);
          auto tokens_alone = search;
          tokens_alone.scores = false;
          const auto without_scores = beam_search(*model, source, tokens_alone);
          for (size_t b = 0; b < 3; ++b) EXPECT_EQ(without_scores[b][0].tokens, found[b][0].tokens);
        });
      }
    }
  }
}

TEST(PreparedModel, KeepsTheWeightsItWasMadeOf) {
  torch::manual_seed(9);
  Seq2Seq model(translator().tie_output(false));
  draw_weights(model);
  const auto prepared = prepare_for_inference(*model);
  const auto before = steps(*prepared, sources(kVocab - 1));
  {
    const torch::NoGradGuard no_grad;
    model->lm_head->weight.zero_();
    for (auto& parameter : model->model->decoder->stack->parameters()) parameter.zero_();
  }
  EXPECT_EQ(largest_difference(steps(*prepared, sources(kVocab - 1)), before), 0.0);
}

TEST(PreparedModel, LogitsThatAreHeldStay) {
  Seq2Seq model(translator());
  const auto prepared = prepare_for_inference(*model);
  const auto state = prepared->start(sources(kVocab - 1));
  const auto held = prepared->step(torch::tensor({1, 2, 3}), *state).logits;
  const auto copy = held.clone();
  prepared->step(torch::tensor({4, 5, 6}), *state);
  EXPECT_TRUE(torch::equal(held, copy));
}

TEST(PreparedModel, ThreadsShareIt) {
  torch::manual_seed(10);
  Seq2Seq model(translator());
  draw_weights(model);
  const auto prepared = prepare_for_inference(*model);
  const BeamSearchOptions search{.beam_size = 3, .max_new_tokens = 10};
  const auto expected = beam_search(*prepared, sources(kVocab - 1), search);
  std::vector<std::vector<std::vector<Hypothesis>>> found(3);
  {
    std::vector<std::jthread> threads;
    for (auto& own : found) {
      threads.emplace_back([&] { own = beam_search(*prepared, sources(kVocab - 1), search); });
    }
  }
  for (const auto& own : found) {
    for (size_t b = 0; b < expected.size(); ++b) {
      EXPECT_EQ(own[b][0].tokens, expected[b][0].tokens);
      EXPECT_EQ(own[b][0].score, expected[b][0].score);
    }
  }
}

TEST(PreparedModel, EmptyInputs) {
  Seq2Seq model(translator());
  const auto prepared = prepare_for_inference(*model);
  EXPECT_TRUE(beam_search(*prepared, torch::zeros({0, 3}, torch::kLong)).empty());
  // A source of padding alone has nothing to attend to.
  const auto only_padding = torch::full({1, 3}, kVocab - 1);
  expect_the_modules_steps<Seq2Seq>("", translator(), only_padding.expand({3, 3}));
}

// The ids of a source, and those three and five above them.
std::vector<int64_t> few_tokens(std::span<const int64_t> source) {
  std::vector<int64_t> ids;
  for (const auto id : source) {
    for (const int64_t more : {5, 0, 3}) ids.push_back((id + more) % (kVocab - 1));
  }
  return ids;
}

std::set<int64_t> chosen_for(std::vector<int64_t> source, int64_t eos) {
  const auto ids = few_tokens(source);
  std::set<int64_t> chosen(ids.begin(), ids.end());
  chosen.insert(eos);
  return chosen;
}

TEST(PreparedModel, AShortlistOfAllTokensChangesNothing) {
  const auto all = [](std::span<const int64_t> /*source*/) {
    std::vector<int64_t> ids(kVocab);
    std::iota(ids.rbegin(), ids.rend(), 0);
    return ids;
  };
  torch::manual_seed(12);
  Seq2Seq model(translator());
  draw_weights(model);
  for (const auto precision : kPrecisions) {
    const auto plain = prepare_for_inference(*model, {.precision = precision});
    const auto listed = prepare_for_inference(*model, {.precision = precision, .shortlist = all});
    for (const int64_t beam : {1, 4}) {
      for (const bool shared : {false, true}) {
        const BeamSearchOptions search{.beam_size = beam,
                                       .n_best = beam,
                                       .max_new_tokens = 12,
                                       .rules = {.bad_words_ids = {{7}, {20}, {90}}},
                                       .renormalize_logits = shared};
        const auto expected = beam_search(*plain, sources(kVocab - 1), search);
        const auto found = beam_search(*listed, sources(kVocab - 1), search);
        for (size_t b = 0; b < 3; ++b) expect_equal_hypotheses(found[b], expected[b]);
      }
    }
  }
}

TEST(PreparedModel, LogitsOfAShortlistAreThoseOfItsTokens) {
  torch::manual_seed(13);
  Seq2Seq model(translator());
  draw_weights(model);
  const auto eos = model->special_tokens().eos_id;
  for (const auto precision : kPrecisions) {
    const auto plain = prepare_for_inference(*model, {.precision = precision});
    const auto listed =
        prepare_for_inference(*model, {.precision = precision, .shortlist = few_tokens});
    const auto all = plain->start(sources(kVocab - 1)), few = listed->start(sources(kVocab - 1));
    const auto check = [&](const torch::Tensor& tokens,
                           const std::vector<size_t>& sentence_of_row) {
      const std::vector<std::vector<int64_t>> of_sentence{{2, 3, 4, 5, 9, 8, 0}, {6, 7, 1, 0}, {0}};
      const auto expected = plain->step(tokens, *all).logits;
      const auto found = listed->step(tokens, *few);
      ASSERT_EQ(found.tokens.size(), sentence_of_row.size());
      for (size_t row = 0; row < sentence_of_row.size(); ++row) {
        const auto chosen = chosen_for(of_sentence[sentence_of_row[row]], eos);
        const auto& own = *found.tokens[row];
        ASSERT_EQ(own, std::vector<int64_t>(chosen.begin(), chosen.end()));
        const auto at = static_cast<int64_t>(row), count = static_cast<int64_t>(own.size());
        const auto width = found.logits.size(1);
        EXPECT_TRUE(torch::equal(found.logits[at].narrow(0, 0, count),
                                 expected[at].index_select(0, torch::tensor(own))));
        EXPECT_TRUE(found.logits[at].narrow(0, count, width - count).isneginf().all().item<bool>());
      }
    };
    check(torch::tensor({1, 2, 3}), {0, 1, 2});
    const auto rows = torch::tensor({2, 2, 1, 0});
    all->reorder(rows);
    few->reorder(rows);
    check(torch::tensor({4, 5, 6, 7}), {2, 2, 1, 0});
    const auto last = torch::tensor({2});
    all->reorder(last);
    few->reorder(last);
    check(torch::tensor({8}), {1});
  }
}

TEST(PreparedModel, AShortlistsHypothesesDoNotDependOnTheBatch) {
  torch::manual_seed(14);
  Seq2Seq model(translator());
  draw_weights(model);
  const auto eos = model->special_tokens().eos_id;
  const auto all = sources(kVocab - 1);
  for (const auto precision : kPrecisions) {
    const auto prepared =
        prepare_for_inference(*model, {.precision = precision, .shortlist = few_tokens});
    for (const int64_t beam : {1, 4}) {
      const BeamSearchOptions search{.beam_size = beam, .n_best = beam, .max_new_tokens = 12};
      const auto together = beam_search(*prepared, all, search);
      const std::vector<int64_t> lengths{7, 4, 1};
      for (int64_t b = 0; b < 3; ++b) {
        const auto own = all.narrow(0, b, 1).narrow(1, 0, lengths[static_cast<size_t>(b)]);
        const auto& found = together[static_cast<size_t>(b)];
        expect_equal_hypotheses(found, beam_search(*prepared, own, search)[0]);
        const auto* ids = own.const_data_ptr<int64_t>();
        const auto chosen = chosen_for({ids, ids + own.numel()}, eos);
        for (const auto& hypothesis : found) {
          for (const auto token : hypothesis.tokens) EXPECT_TRUE(chosen.contains(token)) << token;
        }
      }
    }
  }
}

TEST(PreparedModel, SamplesAreOfTheShortlist) {
  torch::manual_seed(15);
  Seq2Seq model(translator());
  draw_weights(model);
  const auto eos = model->special_tokens().eos_id;
  const auto prepared = prepare_for_inference(*model, {.shortlist = few_tokens});
  const auto source = torch::tensor({{6L, 7L, 1L}, {30L, 31L, 2L}});
  const std::vector<std::set<int64_t>> chosen{chosen_for({6, 7, 1}, eos),
                                              chosen_for({30, 31, 2}, eos)};
  std::set<int64_t> drawn;
  for (int i = 0; i < 20; ++i) {
    const auto sampled = sample(*prepared, source, {.temperature = 5.0, .max_new_tokens = 10});
    for (size_t b = 0; b < 2; ++b) {
      for (const auto token : sampled[b].tokens) EXPECT_TRUE(chosen[b].contains(token)) << token;
      drawn.insert(sampled[b].tokens.begin(), sampled[b].tokens.end());
    }
  }
  EXPECT_GT(drawn.size(), 10U);
}

TEST(PreparedModel, ABadShortlistIsNamed) {
  Seq2Seq model(translator());
  for (const int64_t bad : {-1, kVocab}) {
    const auto prepared =
        prepare_for_inference(*model, {.shortlist = [bad](std::span<const int64_t>) {
          return std::vector{bad, int64_t{4}};
        }});
    EXPECT_THROW_MESSAGE(prepared->start(sources(kVocab - 1)), c10::IndexError,
                         "PreparedModel: expected a shortlist in [0, 71), got ids from " +
                             std::string(bad < 0 ? "-1 to 4" : "0 to 71"));
  }
  EXPECT_THROW_MESSAGE(
      prepare_for_inference(*CausalLM(CausalLMOptions(kVocab, kDim, 4, 1)),
                            {.shortlist = few_tokens}),
      c10::ValueError,
      "prepare_for_inference: expected a Seq2Seq with a shortlist, got a CausalLM");
}

TEST(PreparedModel, RefusesWhatItCannotTake) {
  const auto refuses = [](const IncrementalModel& model, const std::string& what) {
    EXPECT_EQ(inference_obstacle(model), what);
    EXPECT_THROW_MESSAGE(prepare_for_inference(model), c10::ValueError,
                         "prepare_for_inference: " + what);
  };
  const auto layer = [](const Attention& attention) {
    return Seq2Seq(with_layers(TransformerLayerOptions(attention)));
  };
  refuses(*layer(Attention(kDim, 3).relative_bias(RelativeBiasOptions{})),
          "expected layers without relative_bias, got relative_bias");
  refuses(*layer(Attention(kDim, 3).add_bias_kv(true)),
          "expected layers without add_bias_kv, got add_bias_kv");
  refuses(*layer(Attention(kDim, 3).add_zero_attn(true)),
          "expected layers without add_zero_attn, got add_zero_attn");
  Seq2Seq wide(translator());
  wide->to(torch::kDouble);
  refuses(*wide,
          "expected float32 parameters on the CPU, got final_logits_bias with Double on cpu");
  refuses(*RecurrentSeq2Seq(RecurrentSeq2SeqOptions(kVocab, kVocab, 8)),
          "expected a Seq2Seq or a CausalLM, got another model");
}

TEST(PreparedModel, BadInputsAreNamed) {
  Seq2Seq model(translator());
  const auto prepared = prepare_for_inference(*model);
  const auto state = prepared->start(sources(kVocab - 1));
  EXPECT_THROW_MESSAGE(
      prepared->start(torch::tensor({{0, kVocab}})), c10::IndexError,
      "PreparedModel: expected source in [0, 71), the vocabulary, got ids from 0 to 71");
  EXPECT_THROW_MESSAGE(prepared->start(torch::zeros({1, 41}, torch::kLong)), c10::ValueError,
                       "PreparedModel: expected a source of at most max_length 40 tokens, got 41");
  EXPECT_THROW_MESSAGE(
      prepared->step(torch::tensor({1, 2, 71}), *state), c10::IndexError,
      "PreparedModel: expected tokens in [0, 71), the vocabulary, got ids from 1 to 71");
  EXPECT_THROW_MESSAGE(prepared->step(torch::tensor({1, 2}), *state), c10::Error,
                       "PreparedModel: expected tokens of shape [3], got [2]");
  auto restricted = Seq2SeqOptions(kVocab, 60, kDim, 3, 1).share_embeddings(true);
  restricted.pad_id(kVocab - 1).start_id(kVocab - 1);
  Seq2Seq fewer(restricted);
  const auto of_fewer = prepare_for_inference(*fewer);
  const auto fewer_state = of_fewer->start(sources(kVocab - 1));
  EXPECT_THROW_MESSAGE(of_fewer->step(torch::tensor({1, 2, 65}), *fewer_state), c10::IndexError,
                       "PreparedModel: expected target in [0, 60), the vocabulary, or start_id or "
                       "pad_id, got 65");
  const auto foreign = model->start(sources(kVocab - 1));
  EXPECT_THROW_MESSAGE(prepared->step(torch::tensor({1, 2, 3}), *foreign), c10::Error,
                       "PreparedModel: expected a state made by this model's start, got another");
  for (int i = 0; i < 40; ++i) prepared->step(torch::tensor({1, 2, 3}), *state);
  EXPECT_THROW_MESSAGE(prepared->step(torch::tensor({1, 2, 3}), *state), c10::ValueError,
                       "PreparedModel: expected positions within max_length 40, got 40 + 1");
}

}  // namespace
}  // namespace attend::prepared_model_test
