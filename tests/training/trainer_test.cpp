#include "attend/training/trainer.h"

#include <gtest/gtest.h>

#include <chrono>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "attend/checkpoint/model_folder.h"
#include "attend/checkpoint/safetensors.h"
#include "attend/models/seq2seq.h"
#include "attend/text/subword_training.h"
#include "attend/translation/translator.h"
#include "support/temporary_folder.h"
#include "support/tensor_assert.h"

namespace attend::trainer_test {
namespace {

using testing_support::TemporaryFolder;

// A language of digits and its translation into letters, in reverse order.
ParallelText reversed_digits(int count, uint64_t seed) {
  ParallelText text;
  uint64_t random = seed;
  for (int i = 0; i < count; ++i) {
    std::string source, target;
    random = random * 6364136223846793005ULL + 1442695040888963407ULL;
    const auto length = 1 + (random >> 40U) % 4;
    for (uint64_t j = 0; j < length; ++j) {
      random = random * 6364136223846793005ULL + 1442695040888963407ULL;
      const auto digit = static_cast<char>((random >> 40U) % 6);
      source += std::string(j == 0 ? "" : " ") + static_cast<char>('1' + digit);
      target = static_cast<char>('a' + digit) + std::string(j == 0 ? "" : " ") + target;
    }
    text.source.push_back(source);
    text.target.push_back(target);
  }
  return text;
}

SubwordTokenizer tokenizer_for(const ParallelText& text) {
  auto sentences = text.source;
  sentences.insert(sentences.end(), text.target.begin(), text.target.end());
  return train_subwords(sentences, {.vocab_size = 40});
}

std::shared_ptr<TranslationModel> new_model(const SubwordTokenizer& tokenizer) {
  torch::manual_seed(7);
  const auto vocab = tokenizer.vocab_size();
  return Seq2Seq(Seq2SeqOptions(vocab, vocab, 32, 4, 1)
                     .encoder_feed_forward_dim(64)
                     .decoder_feed_forward_dim(64)
                     .max_length(32)
                     .dropout(0.1))
      .ptr();
}

TrainerOptions options(double updates) {
  TrainerOptions o;
  o.after = {updates, Duration::Unit::kUpdates};
  o.valid_freq = {10, Duration::Unit::kUpdates};
  o.disp_freq = {5, Duration::Unit::kUpdates};
  o.batch_tokens = 128;
  o.schedule = {.peak = 3e-3, .warmup = 10};
  o.exponential_smoothing = 0.01;
  return o;
}

std::map<std::string, torch::Tensor> weights_in(const TemporaryFolder& folder) {
  return read_safetensors(folder.path() / "model.safetensors").tensors;
}

void expect_equal(const std::map<std::string, torch::Tensor>& a,
                  const std::map<std::string, torch::Tensor>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (const auto& [name, tensor] : a) EXPECT_TENSOR_EQUAL(tensor, b.at(name)) << name;
}

class TrainerTest : public testing::Test {
 protected:
  TrainingResult train(const TemporaryFolder& folder, const TrainerOptions& o,
                       const TrainerCallbacks& callbacks = {}) {
    Trainer trainer(new_model(tokenizer_), tokenizer_, train_, valid_, folder.path(), o);
    return trainer.run(callbacks);
  }

  ParallelText train_ = reversed_digits(300, 1), valid_ = reversed_digits(20, 99);
  SubwordTokenizer tokenizer_ = tokenizer_for(train_);
};

TEST_F(TrainerTest, ResumedRunsEndWithTheSameBits) {
  TemporaryFolder folder;
  torch::set_num_threads(1);
  train(folder, options(30));
  const auto uninterrupted = weights_in(folder);
  std::filesystem::remove(folder.path() / "training.safetensors");

  // Stopped at update 7 and at update 18, the second time in the middle of an epoch again.
  for (const int64_t stop : {7, 18}) {
    int64_t update = 0;
    TrainerCallbacks callbacks;
    callbacks.progress = [&](const TrainingReport& report) { update = report.update; };
    callbacks.stop_requested = [&] { return update >= stop; };
    torch::rand({static_cast<int64_t>(stop)});  // the random state is the snapshot's, not ours
    EXPECT_TRUE(train(folder, options(30), callbacks).interrupted);
  }
  const auto result = train(folder, options(30));
  EXPECT_FALSE(result.interrupted);
  EXPECT_EQ(result.updates, 30);
  expect_equal(weights_in(folder), uninterrupted);
}

TEST_F(TrainerTest, AFinishedRunHasNothingMoreToDo) {
  TemporaryFolder folder;
  train(folder, options(10));
  const auto before = weights_in(folder);
  EXPECT_EQ(train(folder, options(10)).updates, 10);
  expect_equal(weights_in(folder), before);
}

// A report's speed once counted the tokens from before a validation, but not their time.
TEST_F(TrainerTest, TheSpeedOfAReportIsThatOfAllItsUpdates) {
  TemporaryFolder folder;
  auto o = options(8);
  o.valid_freq = {3, Duration::Unit::kUpdates};
  o.disp_freq = {4, Duration::Unit::kUpdates};
  constexpr auto kPause = std::chrono::milliseconds(50);
  TrainerCallbacks callbacks;
  callbacks.progress = [&](const TrainingReport&) { std::this_thread::sleep_for(kPause); };
  std::vector<double> speeds;
  callbacks.report = [&](const TrainingReport& r) { speeds.push_back(r.tokens_per_second); };
  train(folder, o, callbacks);
  ASSERT_EQ(speeds.size(), 2U);
  // Of a batch, both sides are full at most; an update takes its pause at least.
  const double most =
      2.0 * static_cast<double>(o.batch_tokens) / std::chrono::duration<double>(kPause).count();
  for (const auto speed : speeds) EXPECT_LE(speed, most);
}

TEST_F(TrainerTest, TheFolderHoldsLastBestAndLog) {
  TemporaryFolder folder;
  const auto result = train(folder, options(20));
  ASSERT_TRUE(result.last.has_value());
  EXPECT_EQ(result.last->scores.size(), 2U);
  for (const auto* file :
       {"config.json", "model.safetensors", "source.spm", "vocab.json", "training.safetensors",
        "best-cross-entropy/model.safetensors", "best-bleu/config.json"}) {
    EXPECT_TRUE(std::filesystem::exists(folder.path() / file)) << file;
  }
  std::ifstream log(folder.path() / "metrics.jsonl");
  int reports = 0, validations = 0;
  for (std::string line; std::getline(log, line);) {
    const auto value = nlohmann::json::parse(line);
    if (value["type"] == "train") {
      ++reports;
      EXPECT_GT(value["tokens_per_second"].get<double>(), 0);
      EXPECT_GT(value["gradient_norm"].get<double>(), 0);
    } else {
      ++validations;
      EXPECT_TRUE(value.contains("bleu") && value.contains("cross-entropy"));
    }
  }
  EXPECT_EQ(reports, 4);
  EXPECT_EQ(validations, 2);
}

TEST_F(TrainerTest, AnotherCorpusIsRefused) {
  TemporaryFolder folder;
  train(folder, options(10));
  train_ = reversed_digits(299, 1);
  try {
    train(folder, options(10));
    FAIL() << "expected an error";
  } catch (const FileError& error) {
    const std::string text = error.what();
    EXPECT_TRUE(text.starts_with((folder.path() / "training.safetensors").string() +
                                 ": expected a run with the same corpus"))
        << text;
  }
  auto again = options(10);
  again.reload = false;
  EXPECT_EQ(train(folder, again).updates, 10);
}

TEST_F(TrainerTest, ABrokenSnapshotIsNamed) {
  TemporaryFolder folder;
  train(folder, options(10));
  const auto path = folder.path() / "training.safetensors";
  auto file = read_safetensors(path);
  file.tensors.erase("weights.model.shared.weight");
  write_safetensors(path, file);
  EXPECT_THROW(train(folder, options(10)), FileError);
  file.metadata.clear();
  write_safetensors(path, file);
  EXPECT_THROW(train(folder, options(10)), FileError);
}

TEST_F(TrainerTest, PairsThatCannotBeUsedAreLeftOutAndCounted) {
  TemporaryFolder folder;
  train_.source.push_back("");
  train_.target.push_back("a");
  train_.source.push_back(
      "1 2 3 4 5 6 1 2 3 4 5 6 1 2 3 4 5 6 1 2 3 4 5 6 1 2 3 4 5 6 1 2 3 4 5 6");
  train_.target.push_back("a");
  std::vector<std::string> notes;
  TrainerCallbacks callbacks;
  callbacks.note = [&](const std::string& text) { notes.push_back(text); };
  train(folder, options(5), callbacks);
  ASSERT_FALSE(notes.empty());
  EXPECT_EQ(notes.front(), "left out 2 training pairs that are empty or longer than 32 tokens");
}

TEST(TrainerSlow, LearnsToReverse) {
  const TemporaryFolder folder;
  const auto train = reversed_digits(2000, 1), test = reversed_digits(60, 12345);
  const auto tokenizer = tokenizer_for(train);
  auto o = options(900);
  o.valid_freq = {300, Duration::Unit::kUpdates};
  o.batch_tokens = 512;
  o.schedule.warmup = 100;  // after 10 the rate would be down to a ninth by the end
  Trainer trainer(new_model(tokenizer), tokenizer, train, test, folder.path(), o);
  trainer.run();
  const auto translator = Translator::load(folder.path());
  const auto found = translator.translate(test.source);
  int right = 0;
  for (size_t i = 0; i < test.size(); ++i) right += found[i].front().text == test.target[i];
  EXPECT_GE(right, 57) << "of " << test.size();
}

TEST(Duration, ParsesEpochsUpdatesAndMinutes) {
  EXPECT_EQ(Duration::parse("20e").unit, Duration::Unit::kEpochs);
  EXPECT_EQ(Duration::parse("5000u").amount, 5000);
  EXPECT_EQ(Duration::parse("0.5m").to_string(), "0.5m");
  for (const auto* bad : {"", "e", "20", "20x", "-3u", "0e", "1e5u ", "infu", "nanm"}) {
    EXPECT_THROW_MESSAGE(Duration::parse(bad), c10::ValueError,
                         std::string("Duration: expected a number > 0 and e (epochs), u (updates) "
                                     "or m (minutes), such as 20e, got ") +
                             bad);
  }
}

}  // namespace
}  // namespace attend::trainer_test
