// What models and decoding move between the host and a device: each wait is time in which a GPU has nothing to do.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "attend/decoding/beam_search.h"
#include "attend/decoding/sampling.h"
#include "attend/models/causal_lm.h"
#include "attend/models/recurrent_seq2seq.h"
#include "attend/models/seq2seq.h"
#include "attend/models/vision_transformer.h"
#include "support/devices.h"
#include "support/module_checks.h"

namespace attend::transfers_test {
namespace {

using testing_support::Transfers;
using testing_support::transfers_of;

constexpr int kVocab = 13, kPad = 12;

class TransfersTest : public testing::Test {
 protected:
  void SetUp() override {
    if (const auto* why = testing_support::missing(torch::kPrivateUse1)) GTEST_SKIP() << why;
  }

  template <typename Model>
  static Model placed(Model model) {
    torch::manual_seed(3);
    testing_support::randomise(*model);
    model->to(torch::kPrivateUse1);
    return model;
  }

  static std::vector<std::pair<std::string, std::shared_ptr<TranslationModel>>> models() {
    return {{"Seq2Seq", placed(Seq2Seq(Seq2SeqOptions(kVocab, kVocab, 8, 2, 2))).ptr()},
            {"RecurrentSeq2Seq", placed(RecurrentSeq2Seq(kVocab, kVocab, 6)).ptr()}};
  }

  static torch::Tensor sources() {
    return on_device({{2, 3, 4, 5, 0}, {6, 7, 0, kPad, kPad}, {9, 8, 7, 0, kPad}});
  }
  static torch::Tensor targets() { return on_device({{12, 2, 9}, {12, 7, 3}, {12, 5, 4}}); }

  static torch::Tensor on_device(torch::detail::TensorDataContainer values) {
    return torch::tensor(std::move(values), torch::kLong).to(torch::kPrivateUse1);
  }
};

void expect_nothing(const Transfers& moved, const std::string& name) {
  EXPECT_EQ(moved.to_device, 0) << name;
  EXPECT_EQ(moved.to_host, 0) << name;
  EXPECT_EQ(moved.reads, 0) << name;
}

// For the table of docs/devices.md: --gtest_output=json:FILE writes it.
void record(const std::string& what, int64_t steps, const Transfers& moved) {
  testing::Test::RecordProperty(
      what, fmt::format("{} steps: {} copies to the device, {} to the host of {} bytes, {} reads",
                        steps, moved.to_device, moved.to_host, moved.bytes_to_host, moved.reads));
}

TEST_F(TransfersTest, AForwardAndABackwardPassMoveNothing) {
  const auto source = sources(), target = targets();
  for (const auto& [name, model] : models()) {
    model->module().train();
    expect_nothing(
        transfers_of([&, m = model] { m->loss_sum(source, target, target, 0.1).backward(); }),
        name);
    model->module().eval();
    expect_nothing(transfers_of([&, m = model] { m->forward(source, target); }), name);
  }
  auto lm = placed(CausalLM(CausalLMOptions(kVocab, 8, 2, 2).max_length(20)));
  expect_nothing(transfers_of([&] { lm(target).sum().backward(); }), "CausalLM");
  auto vit = placed(VisionTransformer(VisionTransformerOptions(8, 4, 3, 12, 3, 2)));
  const auto images = torch::randn({2, 3, 8, 8}, torch::kPrivateUse1);
  expect_nothing(transfers_of([&] { vit(images).sum().backward(); }), "VisionTransformer");
}

TEST_F(TransfersTest, AStepOfDecodingMovesNothing) {
  const torch::NoGradGuard no_grad;
  const auto source = sources(), target = targets();
  const auto rows = on_device({2, 0}), sentences = rows;
  for (const auto& [name, model] : models()) {
    model->module().eval();
    expect_nothing(transfers_of([&, m = model] {
                     const auto state = m->start(source);
                     m->step(target.select(1, 0), *state);
                     m->step(target.select(1, 1), *state, /*want_alignment=*/true);
                     state->reorder(rows, sentences);
                     m->step(target.select(1, 2).narrow(0, 0, 2), *state);
                   }),
                   name);
  }
}

// A model that counts its steps.
class Counting : public IncrementalModel {
 public:
  explicit Counting(IncrementalModel& model) : model_(model) {}
  SpecialTokenIds special_tokens() const override { return model_.special_tokens(); }
  int64_t max_target_length() const override { return model_.max_target_length(); }
  std::unique_ptr<DecoderState> start(const torch::Tensor& source,
                                      const AttentionMask& mask) override {
    return model_.start(source, mask);
  }
  StepOutput step(const torch::Tensor& tokens, DecoderState& state, bool want_alignment) override {
    ++steps;
    return model_.step(tokens, state, want_alignment);
  }
  int64_t steps = 0;

 private:
  IncrementalModel& model_;
};

TEST_F(TransfersTest, AStepOfBeamSearchIsOneSmallCopyEachWay) {
  constexpr int64_t kBeam = 4;
  const auto source = sources();
  for (const auto& [name, model] : models()) {
    model->module().eval();
    for (const bool attention : {false, true}) {
      Counting counting(*model);
      const auto moved = transfers_of([&] {
        beam_search(counting, source,
                    {.beam_size = kBeam, .n_best = kBeam, .attention = attention});
      });
      const auto steps = counting.steps;
      ASSERT_GT(steps, 3) << name;
      record(name + (attention ? " with attention" : ""), steps, moved);
      EXPECT_EQ(moved.reads, 0) << name;
      // Beside the steps': which tokens are padding, and at the end the attention.
      EXPECT_LE(moved.to_host, steps + 1 + (attention ? 1 : 0)) << name;
      EXPECT_LE(moved.to_device, steps + 1 + (attention ? 1 : 0)) << name;
      // 2K candidates of a row: a number and a token of 4 bytes each.
      const auto of_step = source.size(0) * kBeam * 2 * kBeam * 8;
      if (!attention) {
        EXPECT_LE(moved.bytes_to_host, steps * of_step + 64) << name;
      }
    }
  }
}

TEST_F(TransfersTest, AStepOfSamplingIsOneSmallCopyToTheHost) {
  const auto prompt = sources();
  auto lm = placed(CausalLM(CausalLMOptions(kVocab, 8, 2, 2).max_length(20)));
  lm->eval();
  for (const auto& options :
       {SamplingOptions{}, SamplingOptions{.temperature = 0.7, .top_k = 5, .top_p = 0.9}}) {
    Counting counting(*lm);
    const auto moved = transfers_of([&] { sample(counting, prompt, options); });
    const auto steps = counting.steps;
    ASSERT_GT(steps, 3);
    record("CausalLM", steps, moved);
    EXPECT_EQ(moved.reads, 0);
    EXPECT_LE(moved.to_host, steps + 1);
    EXPECT_LE(moved.to_device, prompt.size(0) + 1);  // the rows that go on, where one has ended
    EXPECT_LE(moved.bytes_to_host, steps * prompt.size(0) * 8);
  }
}

}  // namespace
}  // namespace attend::transfers_test
