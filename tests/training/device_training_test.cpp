// Training on a device: with the numbers of the CPU, and without waiting for it.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "attend/checkpoint/safetensors.h"
#include "attend/models/recurrent_seq2seq.h"
#include "attend/models/seq2seq.h"
#include "attend/training/trainer.h"
#include "attend/translation/translator.h"
#include "support/devices.h"
#include "support/temporary_folder.h"
#include "support/tensor_assert.h"
#include "training/small_task.h"

namespace attend::device_training_test {
namespace {

using testing_support::TemporaryFolder;

TrainerOptions options(double updates) {
  TrainerOptions o;
  o.after = {updates, Duration::Unit::kUpdates};
  o.valid_freq = {updates, Duration::Unit::kUpdates};
  o.disp_freq = {5, Duration::Unit::kUpdates};
  o.batch_tokens = 128;
  o.batch_shares = 1;
  o.schedule = {.peak = 3e-3, .warmup = 10};
  o.exponential_smoothing = 0.01;
  return o;
}

class DeviceTraining : public testing::TestWithParam<torch::DeviceType> {
 protected:
  void SetUp() override {
    if (const auto* why = testing_support::missing(GetParam())) GTEST_SKIP() << why;
  }

  // Of float64, so that only errors differ from the CPU's numbers; without dropout, whose random numbers are the device's.
  std::shared_ptr<TranslationModel> new_model(bool recurrent, double dropout = 0.0) const {
    torch::manual_seed(7);
    const auto vocab = tokenizer_.vocab_size();
    std::shared_ptr<TranslationModel> model;
    if (recurrent) {
      model = RecurrentSeq2Seq(RecurrentSeq2SeqOptions(vocab, vocab, 12).dropout(dropout)).ptr();
    } else {
      model = Seq2Seq(Seq2SeqOptions(vocab, vocab, 16, 4, 1).max_length(32).dropout(dropout)).ptr();
    }
    model->module().to(torch::kDouble);
    return model;
  }

  TrainingResult train(const TemporaryFolder& folder, std::shared_ptr<TranslationModel> model,
                       const TrainerOptions& o, torch::Device device,
                       const TrainingCallbacks& callbacks = {}) const {
    Trainer trainer(std::move(model), tokenizer_, train_, valid_, folder.path(), o, device);
    return trainer.run(callbacks);
  }

  static std::map<std::string, torch::Tensor> weights_in(const TemporaryFolder& folder) {
    return read_safetensors(folder.path() / "model.safetensors").tensors;
  }

  ParallelText train_ = testing_support::reversed_digits(100, 1),
               valid_ = testing_support::reversed_digits(3, 99);
  SubwordTokenizer tokenizer_ = testing_support::tokenizer_for(train_);
};

INSTANTIATE_TEST_SUITE_P(Pretend, DeviceTraining, testing::Values(torch::kPrivateUse1));
INSTANTIATE_TEST_SUITE_P(Cuda, DeviceTraining, testing::Values(torch::kCUDA));

TEST_P(DeviceTraining, EndsWithTheWeightsOfTheCpu) {
  for (const bool recurrent : {false, true}) {
    auto o = options(3);
    o.optimizer = recurrent ? OptimizerKind::kAdam : OptimizerKind::kMuon;
    const TemporaryFolder on_cpu, on_device;
    const auto expected = train(on_cpu, new_model(recurrent), o, torch::kCPU);
    const auto got = train(on_device, new_model(recurrent), o, GetParam());
    for (size_t i = 0; i < expected.last->scores.size(); ++i) {
      EXPECT_NEAR(got.last->scores[i].second, expected.last->scores[i].second, 1e-6);
    }
    const auto weights = weights_in(on_device);
    for (const auto& [name, tensor] : weights_in(on_cpu)) {
      EXPECT_TENSOR_NEAR(weights.at(name), tensor, 1e-7) << name << ", recurrent " << recurrent;
    }
  }
}

TEST_P(DeviceTraining, ResumedRunsEndWithTheSameBits) {
  const TemporaryFolder whole, resumed;
  const auto o = options(4);
  train(whole, new_model(false, 0.1), o, GetParam());
  int64_t update = 0;
  TrainingCallbacks callbacks;
  callbacks.progress = [&](const TrainingReport& report) { update = report.update; };
  callbacks.stop_requested = [&] { return update >= 2; };
  EXPECT_TRUE(train(resumed, new_model(false, 0.1), o, GetParam(), callbacks).interrupted);
  train(resumed, new_model(false, 0.1), o, GetParam());
  const auto weights = weights_in(resumed);
  for (const auto& [name, tensor] : weights_in(whole)) {
    EXPECT_TENSOR_EQUAL(weights.at(name), tensor) << name;
  }
}

TEST_P(DeviceTraining, ProductsInBFloat16LearnToo) {
  const TemporaryFolder folder;
  auto o = options(10);
  o.precision = Precision::kBFloat16;
  auto model = new_model(false, 0.1);
  model->module().to(torch::kFloat);
  std::vector<double> costs;
  TrainingCallbacks callbacks;
  callbacks.report = [&](const TrainingReport& report) { costs.push_back(report.cost); };
  train(folder, model, o, GetParam(), callbacks);
  ASSERT_EQ(costs.size(), 2U);
  EXPECT_LT(costs.back(), costs.front());
  for (const auto& [name, tensor] : weights_in(folder)) {
    EXPECT_EQ(tensor.scalar_type(), torch::kFloat) << name;
  }
}

TEST_P(DeviceTraining, AFolderTranslatesAsOnTheCpu) {
  const TemporaryFolder folder;
  train(folder, new_model(false), options(1), GetParam());
  const TranslatorOptions search{.beam_size = 3, .n_best = 2, .attention = true};
  const auto expected = Translator::load(folder.path(), search).translate(valid_.source);
  const auto translator = Translator::load(folder.path(), search, GetParam());
  const auto got = translator.translate(valid_.source);
  for (size_t i = 0; i < expected.size(); ++i) {
    for (size_t n = 0; n < expected[i].size(); ++n) {
      EXPECT_EQ(got[i][n].text, expected[i][n].text);
      EXPECT_NEAR(got[i][n].score, expected[i][n].score, 1e-5);
      EXPECT_TENSOR_NEAR(got[i][n].attention, expected[i][n].attention, 1e-5);
    }
  }
  EXPECT_EQ(translator.align(valid_.source, valid_.target).size(), valid_.size());
}

TEST_P(DeviceTraining, AnUpdateCopiesItsBatchAndWaitsForNothing) {
  if (GetParam() != torch::kPrivateUse1) GTEST_SKIP() << "copies are counted on the pretend device";
  for (const bool recurrent : {false, true}) {
    const TemporaryFolder folder;
    auto o = options(13);
    o.optimizer = recurrent ? OptimizerKind::kAdam : OptimizerKind::kMuon;
    o.valid_metrics = {"cross-entropy"};
    std::vector<testing_support::Transfers> moved;  // until each update was done
    TrainingCallbacks callbacks;
    callbacks.progress = [&](const TrainingReport&) {
      moved.push_back(testing_support::transfers());
    };
    train(folder, new_model(recurrent, 0.1), o, GetParam(), callbacks);
    ASSERT_EQ(moved.size(), 13U);
    for (size_t i = 1; i < 12; ++i) {
      // Source, target and labels.
      EXPECT_EQ(moved[i].to_device - moved[i - 1].to_device, 3) << "update " << i + 1;
      // An update that reports reads whether numbers are finite, and then what they are.
      const bool reports = (i + 1) % 5 == 0, follows_report = i % 5 == 0;
      const auto waits = moved[i].waits() - moved[i - 1].waits();
      EXPECT_EQ(waits, (reports ? 1 : 0) + (follows_report ? 1 : 0)) << "update " << i + 1;
    }
    RecordProperty(recurrent ? "RecurrentSeq2Seq Adam" : "Seq2Seq Muon",
                   fmt::format("10 updates: {} copies to the device, {} waits",
                               moved[10].to_device - moved[0].to_device,
                               moved[10].waits() - moved[0].waits()));
  }
}

}  // namespace
}  // namespace attend::device_training_test
