#include "attend/inference/graphed_decoder.h"

#include <ATen/record_function.h>
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <random>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "attend/decoding/beam_search.h"
#include "attend/decoding/continuous_beam_search.h"
#include "attend/decoding/sampling.h"
#include "attend/models/causal_lm.h"
#include "attend/models/recurrent_seq2seq.h"
#include "attend/models/seq2seq.h"
#include "support/devices.h"
#include "support/module_checks.h"
#include "support/tensor_assert.h"

namespace attend::graphed_decoder_test {
namespace {

using Attention = MultiHeadAttentionOptions;
using Models = std::vector<std::pair<std::string, std::shared_ptr<IncrementalModel>>>;

constexpr int kVocab = 23, kPad = 22;
constexpr int64_t kDim = 12, kLength = 70;

TransformerLayerOptions llama_layer() {
  return TransformerLayerOptions(Attention(kDim, 6).num_kv_heads(2).rotary(RotaryOptions()))
      .feed_forward(FeedForwardOptions(kDim, 20).gated(true).activation(Activation::kSwish))
      .norm(NormKind::kRms)
      .norm_order(NormOrder::kPre)
      .bias(false)
      .cross_attention(Attention(kDim, 3));
}

TransformerLayerOptions other_variants() {
  return TransformerLayerOptions(Attention(kDim, 3)
                                     .qk_norm(true)
                                     .soft_cap(1.5)
                                     .sinks(true)
                                     .alibi(true)
                                     .relative_bias(RelativeBiasOptions())
                                     .window(AttentionWindow{.left = 4}))
      .cross_attention(Attention(kDim, 6).num_kv_heads(2).qk_norm(true).add_zero_attn(true));
}

template <typename Model>
std::shared_ptr<IncrementalModel> placed(Model model, torch::Device device) {
  torch::manual_seed(5);
  testing_support::randomise(*model);
  model->to(device, torch::kDouble);
  model->eval();
  return model.ptr();
}

Models translators(torch::Device device) {
  const auto with = [](const TransformerLayerOptions& layer) {
    return Seq2SeqOptions(kVocab, kVocab, layer, 2)
        .positions(PositionKind::kNone)
        .max_length(kLength);
  };
  const Seq2SeqOptions marian(kVocab, kVocab, kDim, 3, 2);
  if (device.is_privateuseone()) {  // which is slow
    return {{"other variants", placed(Seq2Seq(with(other_variants())), device)},
            {"Marian", placed(Seq2Seq(Seq2SeqOptions(marian).max_length(kLength)), device)}};
  }
  return {{"Marian", placed(Seq2Seq(Seq2SeqOptions(marian).max_length(kLength)), device)},
          {"learned positions, pre-norm", placed(Seq2Seq(Seq2SeqOptions(marian)
                                                             .positions(PositionKind::kLearned)
                                                             .norm_order(NormOrder::kPre)
                                                             .max_length(kLength)),
                                                 device)},
          {"Llama's layers", placed(Seq2Seq(with(llama_layer())), device)},
          {"other variants", placed(Seq2Seq(with(other_variants())), device)}};
}

Models language_models(torch::Device device) {
  const auto with = [](TransformerLayerOptions layer) {
    return CausalLMOptions(kVocab, layer.cross_attention(std::nullopt), 2)
        .positions(PositionKind::kNone)
        .max_length(kLength);
  };
  if (device.is_privateuseone()) {
    return {{"Llama", placed(CausalLM(with(llama_layer())), device)}};
  }
  return {
      {"GPT-2", placed(CausalLM(CausalLMOptions(kVocab, kDim, 3, 2).max_length(kLength)), device)},
      {"Llama", placed(CausalLM(with(llama_layer())), device)},
      {"other variants", placed(CausalLM(with(other_variants())), device)}};
}

// Five sources of 6, 2, 4, 5 and 1 tokens.
torch::Tensor sources() {
  return torch::tensor({{2, 3, 4, 5, 9, 0},
                        {6, 0, kPad, kPad, kPad, kPad},
                        {9, 8, 7, 0, kPad, kPad},
                        {1, 2, 3, 1, 0, kPad},
                        {0, kPad, kPad, kPad, kPad, kPad}},
                       torch::kLong);
}

void expect_same(const std::vector<std::vector<Hypothesis>>& got,
                 const std::vector<std::vector<Hypothesis>>& expected) {
  ASSERT_EQ(got.size(), expected.size());
  for (size_t b = 0; b < got.size(); ++b) {
    ASSERT_EQ(got[b].size(), expected[b].size());
    for (size_t n = 0; n < got[b].size(); ++n) {
      EXPECT_EQ(got[b][n].tokens, expected[b][n].tokens) << b << ", " << n;
      EXPECT_NEAR(got[b][n].score, expected[b][n].score, 1e-5);
      if (!expected[b][n].attention.defined()) continue;
      EXPECT_TENSOR_NEAR(got[b][n].attention, expected[b][n].attention, 1e-5);
    }
  }
}

class GraphedDecoderOn : public testing::TestWithParam<torch::DeviceType> {
 protected:
  void SetUp() override {
    if (const auto* why = testing_support::missing(GetParam())) GTEST_SKIP() << why;
  }
  torch::Tensor there(const torch::Tensor& x) const { return x.to(GetParam()); }
  torch::Tensor ids(const std::vector<int64_t>& values) const {
    return there(torch::tensor(values, torch::kLong));
  }
};

INSTANTIATE_TEST_SUITE_P(Cpu, GraphedDecoderOn, testing::Values(torch::kCPU));
INSTANTIATE_TEST_SUITE_P(Pretend, GraphedDecoderOn, testing::Values(torch::kPrivateUse1));
INSTANTIATE_TEST_SUITE_P(Cuda, GraphedDecoderOn, testing::Values(torch::kCUDA));

// Also where a batch ends up in the steps of another, and its sentences end one after the other.
TEST_P(GraphedDecoderOn, BeamSearchFindsWhatItFindsWithTheModel) {
  for (const auto& [name, model] : translators(GetParam())) {
    SCOPED_TRACE(name);
    GraphedDecoder graphed(model);
    for (const int64_t count : {5, 1, 3}) {
      const auto source = there(sources().narrow(0, 0, count));
      for (const int64_t beam : {1, 3}) {
        SCOPED_TRACE(testing::Message() << count << " sentences, beam of " << beam);
        const BeamSearchOptions options{
            .beam_size = beam, .n_best = beam, .max_new_tokens = 8, .attention = count != 3};
        expect_same(beam_search(graphed, source, options), beam_search(*model, source, options));
      }
    }
  }
}

TEST_P(GraphedDecoderOn, LanguageModelsGoOnAsTheyDoAlone) {
  const auto prompt =
      there(torch::tensor({{kPad, 3, 4}, {7, 8, 9}, {kPad, kPad, 5}}, torch::kLong));
  const auto real = AttentionMask::padding(prompt.ne(kPad));
  for (const auto& [name, model] : language_models(GetParam())) {
    SCOPED_TRACE(name);
    GraphedDecoder graphed(model);
    const BeamSearchOptions options{
        .beam_size = 3, .n_best = 3, .max_new_tokens = 9, .attention = true};
    // With padding, without, with it again in the same steps, and from the first token on.
    for (const auto& [text, mask] :
         {std::pair{prompt, real}, std::pair{there(sources().narrow(0, 0, 3)), AttentionMask()},
          std::pair{prompt, real}, std::pair{ids({4, 5, 6}).unsqueeze(1), AttentionMask()}}) {
      expect_same(beam_search(graphed, text, options, mask),
                  beam_search(*model, text, options, mask));
      const SamplingOptions sampling{.temperature = 0.8, .top_k = 7, .max_new_tokens = 9};
      torch::manual_seed(11);
      const auto expected = sample(*model, text, sampling, {}, mask);
      torch::manual_seed(11);
      const auto got = sample(graphed, text, sampling, {}, mask);
      for (size_t i = 0; i < got.size(); ++i) {
        EXPECT_EQ(got[i].tokens, expected[i].tokens);
        EXPECT_NEAR(got[i].log_probability, expected[i].log_probability, 1e-5);
      }
    }
  }
}

// Past the slots that a step has at first, to the last position.
TEST_P(GraphedDecoderOn, StepsAreTheModelsToTheLastPosition) {
  const torch::NoGradGuard no_grad;
  auto models = translators(GetParam());
  for (auto& model : language_models(GetParam())) models.push_back(model);
  for (const auto& [name, model] : models) {
    SCOPED_TRACE(name);
    GraphedDecoder graphed(model);
    const auto source = there(sources().narrow(0, 0, 3).narrow(1, 0, 4));
    const auto expected = model->start(source), state = graphed.start(source);
    EXPECT_EQ(state->first_tokens().defined(), expected->first_tokens().defined());
    int64_t rows = 3;
    for (int64_t t = state->position(); t < kLength; ++t) {
      EXPECT_EQ(state->position(), t);
      if (t == 5) {  // two hypotheses of each
        for (auto* one : {state.get(), expected.get()}) one->reorder(ids({0, 0, 1, 1, 2, 2}));
        rows = 6;
      } else if (t == 9) {  // the second sentence leaves
        for (auto* one : {state.get(), expected.get()}) {
          one->reorder(ids({1, 0, 5, 5}), ids({0, 2}));
        }
        rows = 4;
      } else if (t == 12) {
        for (auto* one : {state.get(), expected.get()}) one->reorder(ids({3, 2}), ids({1}));
        rows = 2;
      }
      const auto tokens = ids({t % 20, 7, 3, 2, 9, 11}).narrow(0, 0, rows);
      const bool attention = t % 8 == 3;
      const auto want = model->step(tokens, *expected, attention);
      const auto got = graphed.step(tokens, *state, attention);
      EXPECT_TENSOR_NEAR(got.logits, want.logits, 1e-9) << "position " << t;
      ASSERT_EQ(got.alignment.defined(), attention);
      if (attention) {
        EXPECT_TENSOR_NEAR(got.alignment, want.alignment, 1e-9) << "position " << t;
      }
      if (HasFailure()) return;
    }
    EXPECT_THROW_MESSAGE(graphed.step(ids({1, 2}), *state), c10::ValueError,
                         "GraphedDecoder: expected at most 70 tokens, got 70 + 1");
  }
}

// Sentences or prompts of 1 to 20 tokens join at random, others are dropped.
void expect_joined_as_alone(IncrementalModel& graphed, IncrementalModel& model,
                            const BeamSearchOptions& options, size_t count, torch::Device device) {
  std::mt19937 draw(7);
  std::vector<std::vector<int64_t>> texts(count);
  for (auto& text : texts) {
    text.resize(1 + draw() % 20);
    for (auto& id : text) id = 1 + static_cast<int64_t>(draw() % 20);
  }
  ContinuousBeamSearch search(graphed, options, 6, device);
  size_t next = 0, compared = 0, joined = 0;
  while (next < count || search.size() > 0) {
    for (auto some = draw() % 3; some > 0 && next < count && search.has_room(); --some) {
      if (search.size() > 0) ++joined;
      search.admit(next, texts[next]);
      ++next;
    }
    if (draw() % 10 == 0) search.cancel(next - 1);
    for (const auto& [id, hypotheses, error] : search.step()) {
      if (error) std::rethrow_exception(error);
      const auto text = torch::tensor(texts[id]).unsqueeze(0).to(device);
      expect_same({hypotheses}, beam_search(model, text, options));
      ++compared;
    }
  }
  EXPECT_GT(compared, count / 2);
  EXPECT_GT(joined, count / 2);
}

TEST_P(GraphedDecoderOn, SentencesJoinWhileOthersDecode) {
  const bool is_slow = GetParam() == torch::kPrivateUse1;
  const auto count = is_slow ? size_t{6} : size_t{30};
  for (const auto& options :
       {BeamSearchOptions{.beam_size = 1, .max_new_tokens = 30, .attention = true},
        BeamSearchOptions{
            .beam_size = 3, .n_best = 2, .max_new_tokens = 12, .attention = !is_slow}}) {
    SCOPED_TRACE(options.beam_size);
    auto models = translators(GetParam());
    for (const auto& model : language_models(GetParam())) models.push_back(model);
    for (const auto& [name, model] : models) {
      SCOPED_TRACE(name);
      GraphedDecoder graphed(model);
      expect_joined_as_alone(graphed, *model, options, count, GetParam());
      if (HasFatalFailure()) return;
    }
  }
}

// Rows that fill all slots of a step when another leaves, that are wider than those they join, and
// that have been decoding.
TEST_P(GraphedDecoderOn, RowsJoinAndLeaveAtEveryPosition) {
  const torch::NoGradGuard no_grad;
  auto models = translators(GetParam());
  for (auto& model : language_models(GetParam())) models.push_back(model);
  const auto one = there(sources().narrow(0, 3, 1).narrow(1, 0, 2));
  const auto other = there(sources().narrow(0, 0, 1).repeat({1, 3}));  // of 18 tokens
  const bool is_slow = GetParam() == torch::kPrivateUse1;
  const std::vector<int64_t> moments =
      is_slow ? std::vector<int64_t>{64} : std::vector<int64_t>{62, 63, 64, 65};
  for (const auto& [name, model] : models) {
    for (const auto leaves : moments) {
      SCOPED_TRACE(testing::Message() << name << ", at position " << leaves);
      GraphedDecoder graphed(model);
      const auto state = graphed.start(one), expected = model->start(one);
      for (auto t = state->position(); t < leaves - 3; ++t) {
        graphed.step(ids({t % 20}), *state);
        model->step(ids({t % 20}), *expected);
      }
      const auto of_other = model->start(other);
      auto joining = graphed.start(other);
      graphed.step(ids({5}), *joining);
      model->step(ids({5}), *of_other);
      state->admit(std::move(joining));
      for (const int64_t token : {7, 8, 9}) {
        const auto got = graphed.step(ids({token, token + 1}), *state).logits;
        EXPECT_TENSOR_NEAR(got[0], model->step(ids({token}), *expected).logits[0], 1e-9);
        EXPECT_TENSOR_NEAR(got[1], model->step(ids({token + 1}), *of_other).logits[0], 1e-9);
      }
      EXPECT_EQ(state->position(), leaves);
      if (leaves % 2 == 0) {
        state->reorder(ids({0}), ids({0}));
        state->admit(graphed.start(one));
      } else {
        state->admit(graphed.start(one));
        state->reorder(ids({0, 2}), ids({0, 2}));
      }
      const auto anew = model->start(one);
      EXPECT_EQ(state->position(), leaves);
      for (const int64_t token : {3, 4}) {
        const auto got = graphed.step(ids({token, token + 1}), *state, /*want_alignment=*/true);
        EXPECT_TENSOR_NEAR(got.logits[0], model->step(ids({token}), *expected).logits[0], 1e-9);
        EXPECT_TENSOR_NEAR(got.logits[1], model->step(ids({token + 1}), *anew).logits[0], 1e-9);
      }
      if (HasFailure()) return;
    }
  }
}

// Of padding alone, or with padding that its mask does not tell from a shorter source.
TEST_P(GraphedDecoderOn, SourcesOfPaddingKeepTheirLength) {
  const torch::NoGradGuard no_grad;
  const auto model = translators(GetParam()).back().second;
  GraphedDecoder graphed(model);
  const auto padding = ids({kPad, kPad, kPad}).unsqueeze(0);
  const auto state = graphed.start(there(sources().narrow(0, 0, 1))),
             expected = model->start(padding);
  graphed.step(ids({1}), *state);
  state->admit(graphed.start(padding));
  graphed.step(ids({2, 3}), *state);
  state->reorder(ids({1}), ids({1}));
  model->step(ids({3}), *expected);
  const auto got = graphed.step(ids({4}), *state, /*want_alignment=*/true);
  const auto want = model->step(ids({4}), *expected, /*want_alignment=*/true);
  EXPECT_TENSOR_NEAR(got.logits, want.logits, 1e-9);
  EXPECT_TENSOR_NEAR(got.alignment, want.alignment, 1e-9);
}

// Endless input takes no more positions than its longest sentence, nor keys than the longest source.
TEST_P(GraphedDecoderOn, OnEndlessInputStepsKeepTheirSizes) {
  const torch::NoGradGuard no_grad;
  const auto model = translators(GetParam()).back().second;
  GraphedDecoder graphed(model);
  const int64_t rounds = GetParam() == torch::kPrivateUse1 ? 6 : 40;  // of 9 steps; 70 positions
  auto state = graphed.start(there(sources().narrow(0, 0, 2)));
  int64_t most_made = 0;
  for (int64_t round = 0; round < rounds; ++round) {
    for (int64_t t = 0; t < 9; ++t) graphed.step(ids({3, 4}), *state);
    state->admit(graphed.start(there(sources().narrow(0, 1 + round % 3, 1))));
    const auto expected = model->start(there(sources().narrow(0, 1 + round % 3, 1)));
    const auto got = graphed.step(ids({5, 6, 7}), *state);
    EXPECT_TENSOR_NEAR(got.logits.narrow(0, 2, 1), model->step(ids({7}), *expected).logits, 1e-9);
    state->reorder(ids({1, 2}), ids({1, 2}));  // the oldest leaves
    EXPECT_EQ(state->position(), round == 0 ? 10 : 11);
    if (round == 2) most_made = graphed.steps_made();
  }
  EXPECT_EQ(graphed.steps_made(), most_made);
}

TEST_P(GraphedDecoderOn, TensorsStayWhereTheyAreAndStepsAreUsedAgain) {
  const torch::NoGradGuard no_grad;
  for (const auto& [name, model] : translators(GetParam())) {
    GraphedDecoder graphed(model);
    const void* logits = nullptr;
    for (const int64_t count : {3, 4, 3}) {  // one size
      const auto state = graphed.start(there(sources().narrow(0, 0, count)));
      for (int64_t t = 0; t < 6; ++t) {
        if (t == 3) {
          state->reorder(there(torch::arange(count - 1, -1, -1)));
        }
        const auto got = graphed.step(there(torch::full({count}, t + 1)), *state);
        EXPECT_EQ(got.logits.sizes(), (std::vector<int64_t>{count, kVocab})) << name;
        if (logits == nullptr) logits = got.logits.const_data_ptr();
        EXPECT_EQ(got.logits.const_data_ptr(), logits) << name << ", step " << t;
      }
    }
    EXPECT_EQ(graphed.steps_made(), 1) << name;
    const auto a = graphed.start(there(sources())), b = graphed.start(there(sources()));
    graphed.step(there(torch::full({5}, 1)), *a);
    graphed.step(there(torch::full({5}, 1)), *b);
    EXPECT_EQ(graphed.steps_made(), 3) << name;  // both live
    // The alignment is the caller's.
    const auto held = graphed.step(there(torch::full({5}, 1)), *a, true).alignment;
    const auto before = held.clone();
    graphed.step(there(torch::full({5}, 2)), *a, true);
    EXPECT_TENSOR_EQUAL(held, before) << name;
  }
}

TEST_P(GraphedDecoderOn, NothingIsLeftOfAnotherBatch) {
  const torch::NoGradGuard no_grad;
  const auto feed = [&](IncrementalModel& model, const torch::Tensor& source) {
    const auto state = model.start(source);
    for (int64_t t = 0; t < 4; ++t) model.step(ids({1, 2}), *state);
    return model.step(ids({3, 4}), *state).logits.clone();
  };
  auto models = translators(GetParam());
  for (auto& model : language_models(GetParam())) models.push_back(model);
  for (const auto& [name, model] : models) {
    GraphedDecoder graphed(model);
    const auto parameters = dynamic_cast<torch::nn::Module&>(*model).parameters();
    std::vector<torch::Tensor> weights;
    for (const auto& one : parameters) weights.push_back(one.clone());
    for (auto one : parameters) one.fill_(std::numeric_limits<double>::quiet_NaN());
    feed(graphed, there(sources().narrow(0, 0, 2)));
    for (size_t i = 0; i < weights.size(); ++i) torch::Tensor(parameters[i]).copy_(weights[i]);
    const auto source = there(sources().narrow(0, 1, 2).narrow(1, 0, 2));
    EXPECT_TENSOR_NEAR(feed(graphed, source), feed(*model, source), 1e-9) << name;
  }
}

// What operations are asked for: their names, sizes of tensors, and all other arguments.
std::vector<std::string>* asked = nullptr;

void describe(std::ostream& stream, const c10::IValue& value) {
  if (value.isTensor()) {
    const auto& x = value.toTensor();
    if (x.defined()) stream << x.device() << x.sizes();
  } else if (value.isTensorList()) {
    for (const torch::Tensor& x : value.toTensorVector()) describe(stream, x);
  } else if (!value.isGenerator()) {
    stream << value;
  }
}

// The pretend device's own work, on the host's copies of its tensors.
bool is_inside(const at::RecordFunction& f) {
  bool on_cpu = false, on_device = false;
  const auto look = [&](const torch::Tensor& x) {
    if (x.defined()) (x.is_cpu() ? on_cpu : on_device) = true;
  };
  for (const auto& input : f.inputs()) {
    if (input.isTensor()) look(input.toTensor());
    if (!input.isTensorList()) continue;
    for (const torch::Tensor& x : input.toTensorVector()) look(x);
  }
  return on_cpu && !on_device;
}

std::vector<std::string> operations_of(const std::function<void()>& work) {
  std::vector<std::string> names;
  asked = &names;
  const auto handle = at::addThreadLocalCallback(
      at::RecordFunctionCallback(
          [](const at::RecordFunction& f) -> std::unique_ptr<at::ObserverContext> {
            if (is_inside(f)) return nullptr;
            std::ostringstream text;
            text << f.name();
            for (const auto& input : f.inputs()) {
              text << ' ';
              describe(text, input);
            }
            asked->push_back(text.str());
            return nullptr;
          })
          .needsInputs(true)
          .scopes({at::RecordScope::FUNCTION}));
  work();
  at::removeCallback(handle);
  return names;
}

// What a graph replays is what was asked for once: no size and no number may differ between steps.
TEST(GraphedDecoder, EveryStepAsksTheDeviceForTheSame) {
#ifndef NDEBUG
  GTEST_SKIP() << "LibTorch's header reads a member that its libraries, built with NDEBUG, lack";
#endif
  if (const auto* why = testing_support::missing(torch::kPrivateUse1)) GTEST_SKIP() << why;
  const torch::NoGradGuard no_grad;
  auto models = translators(torch::kPrivateUse1);
  for (auto& model : language_models(torch::kPrivateUse1)) models.push_back(model);
  for (const auto& [name, model] : models) {
    SCOPED_TRACE(name);
    GraphedDecoder graphed(model);
    const auto source = sources().to(torch::kPrivateUse1);
    const auto tokens = torch::ones({5}, torch::kLong).to(torch::kPrivateUse1);
    for (const bool attention : {false, true}) {
      const auto of_a_step = [&](IncrementalModel& of, DecoderState& state) {
        return operations_of([&] { of.step(tokens, state, /*want_alignment=*/attention); });
      };
      const auto state = graphed.start(source), plain = model->start(source);
      graphed.step(tokens, *state, attention);
      const auto first = of_a_step(graphed, *state);
      EXPECT_GT(first.size(), 50U);
      for (int step = 0; step < 3; ++step) {
        const auto next = of_a_step(graphed, *state);
        ASSERT_EQ(next.size(), first.size());
        for (size_t i = 0; i < next.size(); ++i) {
          // Behind what is captured: the attention to the keys so far.
          if (attention && i + 10 > next.size() && next[i].starts_with("aten::narrow")) break;
          ASSERT_EQ(next[i], first[i]) << "operation " << i;
        }
      }
      EXPECT_NE(of_a_step(*model, *plain), of_a_step(*model, *plain));  // it sees the model's own
    }
  }
}

TEST(GraphedDecoder, AStepAndReorderingMoveNothingToOrFromTheHost) {
  if (const auto* why = testing_support::missing(torch::kPrivateUse1)) GTEST_SKIP() << why;
  const torch::NoGradGuard no_grad;
  auto models = translators(torch::kPrivateUse1);
  for (auto& model : language_models(torch::kPrivateUse1)) models.push_back(model);
  const auto source = sources().to(torch::kPrivateUse1);
  const auto tokens = torch::ones({5}, torch::kLong).to(torch::kPrivateUse1);
  const auto rows = torch::tensor({4, 0, 2}, torch::kLong).to(torch::kPrivateUse1);
  for (const auto& [name, model] : models) {
    GraphedDecoder graphed(model);
    const auto moved = testing_support::transfers_of([&, m = model] {
      const auto state = graphed.start(source);
      graphed.step(tokens, *state);
      graphed.step(tokens, *state, /*want_alignment=*/true);
      state->reorder(tokens);
      graphed.step(tokens, *state);
      state->reorder(rows, rows);
      graphed.step(tokens.narrow(0, 0, 3), *state);
    });
    EXPECT_EQ(moved.to_device, 0) << name;
    EXPECT_EQ(moved.to_host, 0) << name;
    EXPECT_EQ(moved.reads, 0) << name;
    const auto when_joined = testing_support::transfers_of([&, m = model] {
      const auto state = graphed.start(source);
      graphed.step(tokens, *state);
      state->admit(graphed.start(source.narrow(0, 0, 1)));
      graphed.step(torch::cat({tokens, tokens.narrow(0, 0, 1)}), *state);
      state->reorder(rows, rows);  // which reads how long the rest are
      graphed.step(tokens.narrow(0, 0, 3), *state);
    });
    EXPECT_EQ(when_joined.to_device, 0) << name;
    EXPECT_EQ(when_joined.to_host + when_joined.reads, 1) << name;
  }
}

TEST(GraphedDecoder, AFailedStepLeavesTheStepUsable) {
  const torch::NoGradGuard no_grad;
  const auto model = translators(torch::kCPU).front().second;
  GraphedDecoder graphed(model);
  const auto source = sources().narrow(0, 0, 3);
  {
    const auto state = graphed.start(source);
    graphed.step(torch::tensor({1, 2, 3}), *state);
    EXPECT_THROW(graphed.step(torch::tensor({1, 2, kVocab}), *state), c10::IndexError);
    EXPECT_EQ(state->position(), 1);
    const auto expected = model->start(source);
    model->step(torch::tensor({1, 2, 3}), *expected);
    EXPECT_TENSOR_NEAR(graphed.step(torch::tensor({4, 5, 6}), *state).logits,
                       model->step(torch::tensor({4, 5, 6}), *expected).logits, 1e-9);
  }
  const BeamSearchOptions options{.beam_size = 1, .max_new_tokens = 5};
  expect_same(beam_search(graphed, source, options), beam_search(*model, source, options));
}

TEST(GraphedDecoder, ErrorsNameWhatWasExpectedAndGot) {
  const torch::NoGradGuard no_grad;
  EXPECT_THROW_MESSAGE(GraphedDecoder(nullptr), c10::ValueError,
                       "GraphedDecoder: expected a model, got none");
  EXPECT_THROW_MESSAGE(GraphedDecoder(RecurrentSeq2Seq(kVocab, kVocab, 6).ptr()), c10::ValueError,
                       "GraphedDecoder: expected a Seq2Seq or CausalLM, got another model");
  Seq2Seq shallow(Seq2SeqOptions(kVocab, kVocab, kDim, 3, 2).decoder_layers(0));
  shallow->eval();
  GraphedDecoder refused(shallow.ptr());
  EXPECT_THROW_MESSAGE(
      refused.start(sources()), c10::ValueError,
      "Seq2Seq: expected a decoder layer or more for a step of fixed sizes, got none");
  const auto model = translators(torch::kCPU).front().second;
  GraphedDecoder graphed(model), another(model);
  const auto own = graphed.start(sources());
  for (const auto& step :
       {std::function<void()>(
            [&] { graphed.step(torch::zeros({5}, torch::kLong), *model->start(sources())); }),
        std::function<void()>([&] { another.step(torch::zeros({5}, torch::kLong), *own); })}) {
    EXPECT_THROW_MESSAGE(step(), c10::Error,
                         "GraphedDecoder::step: expected a state made by this model's start, got "
                         "another");
  }
  EXPECT_THROW_MESSAGE(graphed.step(torch::zeros({4}, torch::kLong), *own), c10::Error,
                       "GraphedDecoder: expected tokens of shape [5], got [4]");
  EXPECT_THROW_MESSAGE(own->admit(model->start(sources())), c10::Error,
                       "GraphedDecoder's state: expected a state made by this model's start, got "
                       "another");
  EXPECT_THROW_MESSAGE(own->admit(another.start(sources())), c10::Error,
                       "GraphedDecoder's state: expected a state made by this model's start, got "
                       "another");
  auto two_each = graphed.start(sources());
  two_each->reorder(torch::tensor({0, 0, 1, 1, 2, 2, 3, 3, 4, 4}));
  EXPECT_THROW_MESSAGE(own->admit(std::move(two_each)), c10::Error,
                       "GraphedDecoder's state: expected sentences of 1 rows to join, got 2");
  EXPECT_THROW_MESSAGE(
      graphed.start(sources(), AttentionMask(torch::zeros({5, 1, 1, 6}))), c10::Error,
      "Seq2Seq: expected a source mask of padding for a step of fixed sizes, got a bias");
  EXPECT_THROW_MESSAGE(own->reorder(torch::tensor({0, 1, 2, 3})), c10::Error,
                       "GraphedDecoder's state: expected rows of a multiple of 5 sentences, got 4");
}

#ifdef ATTEND_TEST_GRAPHS_LIBRARY
// What captures a step on a GPU, on a machine that need not have one.
TEST(GraphedDecoder, TheLibraryOfGraphsLoads) {
  auto* library = dlopen(ATTEND_TEST_GRAPHS_LIBRARY, RTLD_NOW);
  ASSERT_NE(library, nullptr) << dlerror();
  EXPECT_NE(dlsym(library, "attend_record_cuda_graph"), nullptr);
}
#endif

}  // namespace
}  // namespace attend::graphed_decoder_test
