#include "attend/training/training_loop.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <map>
#include <mutex>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "attend/checkpoint/model_folder.h"
#include "attend/checkpoint/safetensors.h"
#include "attend/file_error.h"
#include "attend/training/causal_lm_task.h"
#include "attend/training/image_classification_task.h"
#include "support/temporary_folder.h"
#include "support/tensor_assert.h"

namespace attend::training_loop_test {
namespace {

using testing_support::TemporaryFolder;

constexpr int64_t kExamples = 7, kBatch = 3, kFeatures = 2;

// y = x w by least squares, with what a test wants to see or to go wrong.
class Regression : public TrainingTask {
 public:
  Regression() {
    torch::NoGradGuard no_grad;
    line->weight.fill_(0.0);
  }

  torch::nn::Module& module() override { return *line; }
  BatchPlan plan(uint64_t epoch, size_t /*pool*/) override {
    BatchPlan batches;
    for (size_t i = 0; i < kExamples; ++i) {
      if (i % kBatch == 0) batches.emplace_back();
      batches.back().push_back((i + epoch) % kExamples);
    }
    return batches;
  }
  std::vector<torch::Tensor> collate(const std::vector<size_t>& examples) override {
    const auto chosen = torch::tensor(std::vector<int64_t>(examples.begin(), examples.end()));
    return {x.index_select(0, chosen), y.index_select(0, chosen)};
  }
  torch::Tensor loss_sum(const std::vector<torch::Tensor>& batch) override {
    {
      const std::scoped_lock lock(one_at_a_time);
      drawn.push_back(torch::rand({}).item<double>());
      if (static_cast<int64_t>(drawn.size()) == fails_at) throw std::runtime_error("no loss today");
    }
    const auto loss = (line(batch[0]) - batch[1]).pow(2).sum();
    return broken ? loss * std::nan("") : loss;
  }
  std::vector<std::string> metrics() const override { return {"squared-error"}; }
  std::vector<std::pair<std::string, double>> scores() override {
    EXPECT_FALSE(line->is_training());
    drawn_for_scores.push_back(torch::rand({}).item<double>());
    const torch::NoGradGuard no_grad;
    return {{"squared-error", (line(x) - y).pow(2).mean().item<double>()}};
  }

  torch::nn::Linear line{torch::nn::LinearOptions(kFeatures, 1).bias(false)};
  torch::Tensor x = torch::tensor(
      {{0.5, 1.0}, {-1.0, 0.25}, {0.75, -0.5}, {1.5, 1.0}, {-0.25, 0.5}, {0.0, -1.0}, {2.0, 0.5}},
      torch::kFloat);
  torch::Tensor y = torch::matmul(x, torch::tensor({{0.75}, {-0.5}}));
  std::vector<double> drawn, drawn_for_scores;
  std::mutex one_at_a_time;
  int64_t fails_at = 0;
  bool broken = false;
};

TrainingOptions options(double updates) {
  TrainingOptions o;
  o.after = {updates, Duration::Unit::kUpdates};
  o.valid_freq = o.after;
  o.disp_freq = {4, Duration::Unit::kUpdates};
  o.schedule = {.peak = 0.05, .warmup = 0, .decay = Decay::kNone};
  return o;
}

std::map<std::string, torch::Tensor> weights_in(const std::filesystem::path& folder) {
  return read_safetensors(folder / "model.safetensors").tensors;
}

void expect_equal(const std::map<std::string, torch::Tensor>& a,
                  const std::map<std::string, torch::Tensor>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (const auto& [name, tensor] : a) EXPECT_TENSOR_EQUAL(tensor, b.at(name)) << name;
}

// Runs a loop that is asked to stop after an update.
TrainingResult run_until(TrainingLoop& loop, int64_t last) {
  int64_t update = 0;
  TrainingCallbacks callbacks;
  callbacks.progress = [&](const TrainingReport& report) { update = report.update; };
  callbacks.stop_requested = [&] { return update >= last; };
  return loop.run(callbacks);
}

TEST(TrainingLoop, TrainsWhateverGivesALoss) {
  Regression task;
  std::vector<TrainingReport> reports;
  TrainingCallbacks callbacks;
  callbacks.report = [&](const TrainingReport& report) { reports.push_back(report); };
  const auto result = TrainingLoop(task, options(200)).run(callbacks);
  EXPECT_EQ(result.updates, 200);
  EXPECT_LT(result.last->scores.front().second, 1e-4);
  EXPECT_TENSOR_NEAR(task.line->weight, torch::tensor({{0.75, -0.5}}), 0.01);
  EXPECT_FALSE(task.line->is_training());
  ASSERT_EQ(reports.size(), 50U);
  // Three batches an epoch, of 3, 3 and 1 examples.
  EXPECT_EQ(reports[0].epoch, 2);
  EXPECT_EQ(reports[0].examples, 3);
  EXPECT_EQ(reports[1].epoch, 3);
  EXPECT_EQ(reports[1].examples, 6);
  EXPECT_GT(reports[0].cost, reports[49].cost);
}

TEST(TrainingLoop, LeavesTheDefaultGeneratorAsItWas) {
  auto generator = at::globalContext().defaultGenerator(torch::kCPU);
  for (const int64_t shares : {1, 2}) {
    for (const int64_t fails_at : {0, 3}) {
      Regression task;
      torch::manual_seed(5);
      torch::randn({3});
      const auto before = generator.get_state().clone();
      task.fails_at = fails_at;
      auto o = options(6);
      o.batch_shares = shares;
      TrainingCallbacks callbacks;
      const auto expect_untouched = [&] {
        EXPECT_TENSOR_EQUAL(generator.get_state(), before) << shares << " shares";
      };
      callbacks.progress = [&](const TrainingReport&) { expect_untouched(); };
      callbacks.validation = [&](const ValidationReport&) { expect_untouched(); };
      TrainingLoop loop(task, o);
      if (fails_at > 0) {
        EXPECT_THROW(loop.run(callbacks), std::runtime_error);
      } else {
        loop.run(callbacks);
        EXPECT_EQ(task.drawn_for_scores.size(), 1U);
      }
      expect_untouched();
      EXPECT_GE(task.drawn.size(), 3U);
    }
  }
}

// The seed and the number of the update, not what was drawn before.
TEST(TrainingLoop, TheSeedDecidesTheRandomNumbersOfAnUpdate) {
  const auto drawn = [](uint64_t seed, uint64_t before) {
    torch::manual_seed(before);
    Regression task;
    auto o = options(4);
    o.seed = seed;
    TrainingLoop(task, o).run();
    task.drawn.push_back(task.drawn_for_scores.front());
    return task.drawn;
  };
  const auto first = drawn(1, 7);
  EXPECT_EQ(drawn(1, 8), first);
  EXPECT_NE(drawn(2, 7), first);
  EXPECT_NE(first[0], first[1]);
}

TEST(TrainingLoop, WithoutAFolderTheModuleBecomesTheAverage) {
  Regression task, averaged;
  TrainingLoop(task, options(9)).run();
  auto o = options(9);
  o.exponential_smoothing = 0.01;
  TrainingLoop loop(averaged, o);
  EXPECT_TRUE(run_until(loop, 4).interrupted);
  EXPECT_EQ(loop.run().updates, 9);
  EXPECT_FALSE(torch::equal(averaged.line->weight, task.line->weight));
  const auto before = averaged.line->weight.clone();
  EXPECT_EQ(loop.run().updates, 9);  // nothing more to do
  EXPECT_TENSOR_EQUAL(averaged.line->weight, before);
}

TEST(TrainingLoop, AFolderHoldsTheWeightsThatResumingGoesOnFrom) {
  const TemporaryFolder whole, resumed;
  Regression first;
  TrainingLoop(first, options(10), whole.path()).run();
  for (const int64_t last : {4, 10}) {
    Regression task;
    TrainingLoop loop(task, options(10), resumed.path());
    EXPECT_EQ(loop.resumed(), last == 10);
    run_until(loop, last);
  }
  expect_equal(weights_in(resumed.path()), weights_in(whole.path()));
  EXPECT_TRUE(std::filesystem::exists(whole.path() / "best-squared-error/model.safetensors"));
}

TEST(TrainingLoop, WhatCannotBeIsRefused) {
  Regression task;
  auto o = options(3);
  o.average_checkpoints = 2;
  EXPECT_THROW_MESSAGE(TrainingLoop(task, o), c10::ValueError,
                       "TrainingLoop: expected a folder for average_checkpoints, got none");
  o = options(-1);
  EXPECT_THROW_MESSAGE(TrainingLoop(task, o), c10::ValueError,
                       "TrainingOptions: expected durations > 0, got -1");
}

TEST(TrainingLoop, TooManyUpdatesThatAreNotFiniteNameTheBatch) {
  Regression task;
  task.broken = true;
  auto o = options(9);
  o.max_bad_updates = 5;
  TrainingLoop loop(task, o);
  EXPECT_THROW_MESSAGE(
      loop.run(), c10::Error,
      "TrainingLoop: expected a finite loss and gradient, got none in 5 updates in a row; the last "
      "was update 5, batch 2 of epoch 2, whose first example of 3 is number 4. The folder's "
      "snapshot is from before; try a lower learning rate");
}

// Counting: each token is the one before plus 1.
std::vector<std::vector<int64_t>> counting(int64_t texts) {
  std::vector<std::vector<int64_t>> all;
  for (int64_t i = 0; i < texts; ++i) {
    std::vector<int64_t> text;
    for (int64_t token = i % 5; token < 5 + i % 3; ++token) text.push_back(token);
    text.push_back(9);
    all.push_back(std::move(text));
  }
  return all;
}

CausalLM small_lm() {
  torch::manual_seed(3);
  return CausalLM(CausalLMOptions(11, 16, 2, 1).max_length(8).dropout(0.1).bos_id(10).eos_id(9));
}

TEST(CausalLMTask, LearnsAndResumesWithTheSameBits) {
  auto o = options(60);
  o.valid_freq = {30, Duration::Unit::kUpdates};
  o.batch_shares = 1;
  const TemporaryFolder whole, resumed;
  std::vector<double> scores;
  TrainingCallbacks callbacks;
  callbacks.validation = [&](const ValidationReport& report) {
    scores.push_back(report.scores.front().second);
  };
  {
    CausalLMTask task(small_lm(), counting(40), {.batch_tokens = 64}, counting(15));
    TrainingLoop(task, o, whole.path()).run(callbacks);
  }
  ASSERT_EQ(scores.size(), 2U);
  EXPECT_LT(scores[1], scores[0]);
  EXPECT_LT(scores[1], 0.9);
  for (const int64_t last : {17, 60}) {
    CausalLMTask task(small_lm(), counting(40), {.batch_tokens = 64}, counting(15));
    TrainingLoop loop(task, o, resumed.path());
    run_until(loop, last);
  }
  expect_equal(weights_in(resumed.path()), weights_in(whole.path()));
  EXPECT_EQ(load_causal_lm(whole.path())->options.vocab_size(), 11);
}

// The padding of a batch counts nothing: the mean loss is that of each text by itself.
TEST(CausalLMTask, TheLossIsThatOfTheTextsAlone) {
  auto model = small_lm();
  model->eval();
  const std::vector<std::vector<int64_t>> texts{{1, 2, 3, 9}, {4, 9}, {0, 1, 9}};
  CausalLMTask task(model, texts);
  const auto batch = task.loss_sum(task.collate({0, 1, 2}));
  auto sum = torch::zeros({});
  for (size_t i = 0; i < texts.size(); ++i) {
    sum += task.loss_sum(task.collate({i}));
    EXPECT_EQ(task.loss_terms(i), static_cast<int64_t>(texts[i].size()));
  }
  EXPECT_TENSOR_NEAR(batch, sum, 1e-5);
}

TEST(CausalLMTask, AnotherCorpusIsRefused) {
  const TemporaryFolder folder;
  const auto train = [&](int64_t texts) {
    CausalLMTask task(small_lm(), counting(texts));
    TrainingLoop(task, options(2), folder.path()).run();
  };
  train(40);
  EXPECT_THAT([&] { train(41); }, testing::ThrowsMessage<FileError>(
                                      testing::HasSubstr("expected a run with the same corpus")));
}

TEST(CausalLMTask, TextsThatTheModelCannotReadAreRefused) {
  const auto task = [](std::vector<std::vector<int64_t>> texts) {
    CausalLMTask(small_lm(), std::move(texts));
  };
  EXPECT_THROW_MESSAGE(task({}), c10::ValueError,
                       "CausalLMTask: expected texts to train on, got none");
  EXPECT_THROW_MESSAGE(task({{1, 9}, {}}), c10::ValueError,
                       "CausalLMTask: expected texts of 1 to 8 tokens, got one of 0");
  EXPECT_THROW_MESSAGE(task({{0, 1, 2, 3, 4, 5, 6, 7, 9}}), c10::ValueError,
                       "CausalLMTask: expected texts of 1 to 8 tokens, got one of 9");
}

// Bright above or bright below.
LabelledImages halves(int64_t count) {
  auto images = torch::zeros({count, 1, 6, 6});
  const auto labels = torch::arange(count) % 2;
  for (int64_t i = 0; i < count; ++i) {
    images[i][0].narrow(0, 3 * (i % 2), 3).fill_(0.5 + 0.01 * static_cast<double>(i % 7));
  }
  return {.images = images, .labels = labels};
}

TEST(ImageClassificationTask, LearnsAndKeepsTheMostAccurateModel) {
  torch::manual_seed(2);
  const VisionTransformer model(VisionTransformerOptions(6, 3, 2, 8, 2, 1).num_channels(1));
  ImageClassificationTask task(model, halves(30), {.batch_size = 8}, halves(11));
  const TemporaryFolder folder;
  auto o = options(40);
  o.valid_freq = {10, Duration::Unit::kUpdates};
  o.schedule.peak = 0.01;
  double best = 0;
  TrainingCallbacks callbacks;
  callbacks.validation = [&](const ValidationReport& report) {
    const auto& [metric, score] = report.scores.front();
    EXPECT_EQ(metric, "accuracy");
    EXPECT_EQ(report.improved.size(), score > best ? 1U : 0U);
    best = std::max(best, score);
  };
  TrainingLoop(task, o, folder.path()).run(callbacks);
  EXPECT_EQ(best, 1.0);
  auto loaded = load_vision_transformer(folder.path() / "best-accuracy");
  loaded->eval();
  const auto unseen = halves(11);
  EXPECT_TENSOR_EQUAL(loaded(unseen.images).argmax(1), unseen.labels);
}

TEST(ImageClassificationTask, AnEpochHoldsEveryImageOnceInAnotherOrder) {
  const VisionTransformer model(VisionTransformerOptions(6, 3, 2, 8, 2, 1).num_channels(1));
  ImageClassificationTask task(model, halves(11), {.batch_size = 4});
  std::vector<std::vector<size_t>> orders;
  for (const uint64_t epoch : {0, 1}) {
    auto& order = orders.emplace_back();
    for (const auto& batch : task.plan(epoch, 0)) {
      EXPECT_LE(batch.size(), 4U);
      order.insert(order.end(), batch.begin(), batch.end());
    }
  }
  EXPECT_NE(orders[0], orders[1]);
  for (auto& order : orders) {
    std::ranges::sort(order);
    ASSERT_EQ(order.size(), 11U);
    for (size_t i = 0; i < order.size(); ++i) EXPECT_EQ(order[i], i);
  }
}

}  // namespace
}  // namespace attend::training_loop_test
