#include "attend/training/trainer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "attend/checkpoint/model_folder.h"
#include "attend/checkpoint/safetensors.h"
#include "attend/models/recurrent_seq2seq.h"
#include "attend/models/seq2seq.h"
#include "attend/translation/chrf.h"
#include "attend/translation/translator.h"
#include "support/default_device.h"
#include "support/temporary_folder.h"
#include "support/tensor_assert.h"
#include "training/small_task.h"

namespace attend::trainer_test {
namespace {

using testing_support::reversed_digits;
using testing_support::TemporaryFolder;
using testing_support::test_device;
using testing_support::tokenizer_for;

Seq2SeqOptions model_options(const SubwordTokenizer& tokenizer) {
  const auto vocab = tokenizer.vocab_size();
  return Seq2SeqOptions(vocab, vocab, 32, 4, 1).feed_forward_dim(64).max_length(32).dropout(0.1);
}

std::shared_ptr<TranslationModel> new_model(const SubwordTokenizer& tokenizer) {
  torch::manual_seed(7);
  return Seq2Seq(model_options(tokenizer)).ptr();
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
                       const TrainingCallbacks& callbacks = {}) {
    Trainer trainer(new_model(tokenizer_), tokenizer_, train_, valid_, folder.path(), o,
                    test_device());
    return trainer.run(callbacks);
  }

  // Words of several digits or letters, and a BPE that merges them.
  void make_words() {
    for (auto* text : {&train_, &valid_}) {
      for (auto& sentence : text->source) std::erase(sentence, ' ');
      for (auto& sentence : text->target) std::erase(sentence, ' ');
    }
    auto sentences = train_.source;
    sentences.insert(sentences.end(), train_.target.begin(), train_.target.end());
    tokenizer_ = train_subwords(sentences, {.model = SubwordModel::kBpe, .vocab_size = 60});
  }

  ParallelText train_ = reversed_digits(300, 1), valid_ = reversed_digits(20, 99);
  SubwordTokenizer tokenizer_ = tokenizer_for(train_);
};

TEST_F(TrainerTest, ResumedRunsEndWithTheSameBits) {
  torch::set_num_threads(1);
  for (const auto optimizer : {OptimizerKind::kAdam, OptimizerKind::kMuon}) {
    TemporaryFolder folder;
    auto o = options(30);
    o.optimizer = optimizer;
    train(folder, o);
    const auto uninterrupted = weights_in(folder);
    std::filesystem::remove(folder.path() / "training.safetensors");

    // Stopped at update 7 and at update 18, the second time in the middle of an epoch again.
    for (const int64_t stop : {7, 18}) {
      int64_t update = 0;
      TrainingCallbacks callbacks;
      callbacks.progress = [&](const TrainingReport& report) { update = report.update; };
      callbacks.stop_requested = [&] { return update >= stop; };
      torch::rand({static_cast<int64_t>(stop)});  // the random numbers are the run's, not ours
      EXPECT_TRUE(train(folder, o, callbacks).interrupted);
    }
    const auto result = train(folder, o);
    EXPECT_FALSE(result.interrupted);
    EXPECT_EQ(result.updates, 30);
    expect_equal(weights_in(folder), uninterrupted);
  }
}

// Subwords that each epoch draws anew: the same ones after a stop in the middle of an epoch, other
// ones than without them.
TEST_F(TrainerTest, BpeDropoutResumesWithTheSameBits) {
  make_words();
  auto o = options(30);
  const TemporaryFolder without, with, resumed;
  train(without, o);
  o.bpe_dropout = 0.4;
  train(with, o);
  int64_t update = 0;
  TrainingCallbacks callbacks;
  callbacks.progress = [&](const TrainingReport& report) { update = report.update; };
  callbacks.stop_requested = [&] { return update >= 17; };
  EXPECT_TRUE(train(resumed, o, callbacks).interrupted);
  train(resumed, o);
  expect_equal(weights_in(resumed), weights_in(with));
  bool same = true;
  const auto other = weights_in(without);
  for (const auto& [name, tensor] : weights_in(with)) same = same && tensor.equal(other.at(name));
  EXPECT_FALSE(same);

  o.after.amount = 40;
  o.bpe_dropout = 0.1;
  EXPECT_THAT([&] { train(with, o); },
              testing::ThrowsMessage<FileError>(
                  testing::HasSubstr("expected a run with the same bpe_dropout (0.1), got 0.4")));
}

// Notes the sources that it is trained on.
class WritingModel : public Seq2SeqImpl {
 public:
  using Seq2SeqImpl::Seq2SeqImpl;
  torch::Tensor loss_sum(const torch::Tensor& source, const torch::Tensor& target,
                         const torch::Tensor& labels, double label_smoothing) override {
    if (is_training()) sources.push_back(source.clone());
    return Seq2SeqImpl::loss_sum(source, target, labels, label_smoothing);
  }
  std::vector<torch::Tensor> sources;
};

// Each epoch holds the same texts in other subwords, none longer than may be; in one pool as in
// several of a file.
TEST_F(TrainerTest, EachEpochDrawsItsSubwords) {
  constexpr int64_t kMaxLength = 3;
  make_words();
  const ParallelText text = reversed_digits(2100, 5);
  for (const bool is_file : {false, true}) {
    const TemporaryFolder folder;
    auto o = options(1);
    o.after = {2, Duration::Unit::kEpochs};
    o.valid_freq = o.after;
    o.batch_tokens = 512;
    o.batch_shares = 1;
    o.bpe_dropout = 0.5;
    o.filter.max_length = kMaxLength;
    o.shuffle_pairs = TokenFile::kBlockPairs;
    torch::manual_seed(7);
    auto model = std::make_shared<WritingModel>(model_options(tokenizer_));
    const auto seen = [&](const std::function<void()>& run) {
      model->sources.clear();
      run();
      return model->sources;
    };
    std::vector<int64_t> ends;  // batches of each epoch
    TrainingCallbacks callbacks;
    int64_t epoch = 1;
    callbacks.progress = [&](const TrainingReport& report) {
      if (report.epoch != epoch) ends.push_back(report.update - 1);
      epoch = report.epoch;
    };
    auto words = text;
    for (auto& sentence : words.source) std::erase(sentence, ' ');
    for (auto& sentence : words.target) std::erase(sentence, ' ');
    const auto corpus = [&] {
      std::ofstream source(folder.path() / "source"), target(folder.path() / "target");
      for (const auto& sentence : words.source) source << sentence << "\n";
      for (const auto& sentence : words.target) target << sentence << "\n";
      source.close();
      target.close();
      return encode_corpus(folder.path() / "source", folder.path() / "target", tokenizer_,
                           folder.path() / "tokens", filter_for(*model, o));
    };
    const auto sources = seen([&] {
      if (is_file) {
        const auto encoded = corpus();
        ASSERT_GT(encoded.file.blocks(), 1U);
        Trainer(model, tokenizer_, encoded, valid_, folder.path() / "m", o, test_device())
            .run(callbacks);
      } else {
        Trainer(model, tokenizer_, words, valid_, folder.path() / "m", o, test_device())
            .run(callbacks);
      }
    });
    ASSERT_EQ(ends.size(), 1U);
    std::array<std::multiset<std::string>, 2> texts;
    std::array<std::multiset<std::vector<int64_t>>, 2> cuts;
    for (size_t i = 0; i < sources.size(); ++i) {
      const size_t of = i < static_cast<size_t>(ends[0]) ? 0 : 1;
      for (const auto& row : sources[i].cpu().unbind()) {
        std::vector<int64_t> ids(row.const_data_ptr<int64_t>(),
                                 row.const_data_ptr<int64_t>() + row.numel());
        std::erase(ids, tokenizer_.pad_id());
        EXPECT_LE(ids.size() - 1, static_cast<size_t>(kMaxLength));
        texts[of].insert(tokenizer_.decode_target(ids));
        cuts[of].insert(std::move(ids));
      }
    }
    EXPECT_GT(texts[0].size(), 1000U);
    EXPECT_EQ(texts[0], texts[1]);
    EXPECT_NE(cuts[0], cuts[1]);
  }
}

// Snapshots from before there was BPE-dropout go on without it.
TEST_F(TrainerTest, ASnapshotWithoutBpeDropoutGoesOn) {
  const TemporaryFolder folder;
  auto o = options(3);
  train(folder, o);
  const auto path = folder.path() / "training.safetensors";
  auto snapshot = read_safetensors(path);
  auto identity = nlohmann::json::parse(snapshot.metadata.at("identity"));
  ASSERT_EQ(identity.erase("bpe_dropout"), 1U);
  snapshot.metadata["identity"] = identity.dump();
  write_safetensors(path, snapshot);
  o.after.amount = 5;
  EXPECT_EQ(train(folder, o).updates, 5);
}

TEST_F(TrainerTest, BpeDropoutWantsABpeModel) {
  const TemporaryFolder folder;
  auto o = options(3);
  o.bpe_dropout = 0.1;
  EXPECT_THAT([&] { train(folder, o); },
              testing::ThrowsMessage<c10::ValueError>(testing::HasSubstr("expected a BPE model")));
}

// Under each optimiser, with decay and averages, on one thread and on several.
TEST_F(TrainerTest, ThePaddingRowStaysExactlyZero) {
  for (const auto optimizer : {OptimizerKind::kAdam, OptimizerKind::kMuon}) {
    for (const int64_t shares : {1, 2}) {
      const TemporaryFolder folder;
      auto o = options(12);
      o.optimizer = optimizer;
      o.adam.weight_decay = 0.01;
      o.batch_shares = shares;
      o.average_checkpoints = 2;
      int64_t update = 0;
      TrainingCallbacks callbacks;
      callbacks.progress = [&](const TrainingReport& report) { update = report.update; };
      callbacks.stop_requested = [&] { return update == 7; };
      EXPECT_TRUE(train(folder, o, callbacks).interrupted);
      train(folder, o);
      auto tensors = weights_in(folder);
      tensors.merge(read_safetensors(folder.path() / "training.safetensors").tensors);
      int tables = 0;
      for (const auto& [name, tensor] : tensors) {
        if (!name.ends_with("model.shared.weight") || tensor.dim() != 2) continue;
        ++tables;
        const auto row = tensor.select(0, tokenizer_.pad_id());
        EXPECT_TENSOR_EQUAL(row, torch::zeros_like(row)) << name;
        EXPECT_GT(tensor.select(0, 0).abs().max().item<double>(), 0.0) << name;
      }
      EXPECT_EQ(tables, 5);  // the model, its snapshot and average, and Adam's two means
    }
  }
}

// As those of attend 0.1.
TEST_F(TrainerTest, ASnapshotWithAPaddingRowThatLearntGoesOnLearningIt) {
  const TemporaryFolder folder;
  auto o = options(5);
  o.exponential_smoothing = 0;
  train(folder, o);
  const auto path = folder.path() / "training.safetensors";
  auto snapshot = read_safetensors(path);
  auto identity = nlohmann::json::parse(snapshot.metadata.at("identity"));
  ASSERT_EQ(identity.erase("model"), 1U);  // which attend 0.1 did not say
  snapshot.metadata["identity"] = identity.dump();
  auto row = snapshot.tensors.at("weights.model.shared.weight").select(0, tokenizer_.pad_id());
  row.fill_(0.5);
  write_safetensors(path, snapshot);
  o.after.amount = 8;
  EXPECT_EQ(train(folder, o).updates, 8);
  const auto learnt = weights_in(folder).at("model.shared.weight").select(0, tokenizer_.pad_id());
  EXPECT_EQ(learnt.eq(0.5).sum().item<int64_t>(), 0);
  EXPECT_TENSOR_NEAR(learnt, torch::full_like(learnt, 0.5), 0.05);
}

// The shapes of weights do not tell the number of heads.
TEST_F(TrainerTest, AnotherModelOfTheSameShapesIsRefused) {
  const TemporaryFolder folder;
  const auto train_another = [&](const Seq2SeqOptions& model) {
    Trainer(Seq2Seq(model), tokenizer_, train_, valid_, folder.path(), options(6)).run();
  };
  train(folder, options(3));
  const auto expect_refused = [&](const Seq2SeqOptions& other, const std::string& what) {
    EXPECT_THAT([&] { train_another(other); },
                testing::ThrowsMessage<FileError>(testing::HasSubstr(
                    "training.safetensors: expected a run with the same model: " + what)));
  };
  const auto with_heads = [](int64_t heads) {
    return TransformerLayerOptions(32, heads).feed_forward_dim(64);
  };
  expect_refused(model_options(tokenizer_).encoder_layer(with_heads(2)),
                 "encoder heads (2), got 4");
  expect_refused(model_options(tokenizer_).decoder_layer(with_heads(8)),
                 "decoder heads (8), got 4");
  const auto with_alibi = MultiHeadAttentionOptions(32, 4).alibi(true);
  expect_refused(model_options(tokenizer_)
                     .encoder_layer(TransformerLayerOptions(with_alibi).feed_forward_dim(64)),
                 "encoder layer/dropout (0.0), got none");
  expect_refused(model_options(tokenizer_).activation(Activation::kGelu),
                 "activation (\"gelu\"), got \"relu\"");
  expect_refused(model_options(tokenizer_).scale_embedding(false),
                 "scaled embeddings (false), got true");
  expect_refused(model_options(tokenizer_).positions(PositionKind::kSinusoidal),
                 "positions (\"sinusoidal\"), got \"sinusoidal-halves\"");
  train_another(model_options(tokenizer_).dropout(0.2));  // what is no part of the model may change
}

TEST_F(TrainerTest, APlainModelDoesNotGoOnFromAVariant) {
  const TemporaryFolder folder;
  const auto with_alibi = MultiHeadAttentionOptions(32, 4).alibi(true);
  const auto variant = model_options(tokenizer_)
                           .encoder_layer(TransformerLayerOptions(with_alibi).feed_forward_dim(64));
  Trainer(Seq2Seq(variant), tokenizer_, train_, valid_, folder.path(), options(3)).run();
  EXPECT_THAT([&] { train(folder, options(6)); },
              testing::ThrowsMessage<FileError>(testing::AllOf(
                  testing::HasSubstr("expected a run with the same model: encoder layer/"),
                  testing::HasSubstr("(none), got "))));
}

TEST_F(TrainerTest, AnotherOptimizerIsRefused) {
  const TemporaryFolder folder;
  auto o = options(3);
  train(folder, o);
  o.after.amount = 6;
  o.optimizer = OptimizerKind::kMuon;
  EXPECT_THAT([&] { train(folder, o); },
              testing::ThrowsMessage<FileError>(
                  (folder.path() / "training.safetensors").string() +
                  ": expected a run with the same optimizer (\"muon\"), got \"adam\"; train into "
                  "another folder or start again with --no-reload"));
}

// Threads that share a batch: the same bits again, after a stop too, and the whole batch's gradient.
TEST_F(TrainerTest, BatchSharesEndWithTheSameBitsAndWithTheWholeBatchsGradient) {
  auto o = options(24);
  o.batch_shares = 3;
  const TemporaryFolder folder, again;
  train(folder, o);
  const auto uninterrupted = weights_in(folder);
  int64_t update = 0;
  TrainingCallbacks callbacks;
  callbacks.progress = [&](const TrainingReport& report) { update = report.update; };
  callbacks.stop_requested = [&] { return update >= 9; };
  EXPECT_TRUE(train(again, o, callbacks).interrupted);
  train(again, o);
  expect_equal(weights_in(again), uninterrupted);

  const auto exact = [&](int64_t shares) {
    const TemporaryFolder one;
    auto model = Seq2Seq(model_options(tokenizer_).dropout(0.0));
    torch::manual_seed(7);
    for (auto& parameter : model->parameters()) {
      torch::nn::init::uniform_(parameter, -0.3, 0.3);
    }
    model->to(torch::kDouble);
    auto without_dropout = options(24);
    without_dropout.batch_shares = shares;
    double cost = 0;
    TrainingCallbacks costs;
    costs.report = [&](const TrainingReport& report) { cost = report.cost; };
    Trainer(model.ptr(), tokenizer_, train_, valid_, one.path(), without_dropout, test_device())
        .run(costs);
    return std::pair(weights_in(one), cost);
  };
  const auto [whole, whole_cost] = exact(1);
  const auto [shared, shared_cost] = exact(4);
  EXPECT_NEAR(shared_cost, whole_cost, 1e-10);
  for (const auto& [name, tensor] : whole) EXPECT_TENSOR_NEAR(shared.at(name), tensor, 1e-9);
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
  TrainingCallbacks callbacks;
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

// A folder that somebody else made may hold anything.
TEST_F(TrainerTest, WhatASnapshotSaysIsShownWithoutControlCharacters) {
  TemporaryFolder folder;
  train(folder, options(3));
  const auto path = folder.path() / "training.safetensors";
  auto snapshot = read_safetensors(path);
  const auto whole = snapshot;
  auto identity = nlohmann::json::parse(snapshot.metadata.at("identity"));
  const std::string csi = "\xc2\x9b";  // begins a terminal's command, as ESC [ does
  identity["optimizer"] = csi + "2J" + std::string(1000, 'x');
  snapshot.metadata["identity"] = identity.dump();
  const auto message = [&] {
    write_safetensors(path, snapshot);
    try {
      train(folder, options(6));
    } catch (const FileError& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  const auto of_identity = message();
  EXPECT_THAT(of_identity, testing::HasSubstr("expected a run with the same optimizer (\"adam\")"));
  EXPECT_LT(of_identity.size(), 600U);
  snapshot = whole;
  snapshot.metadata["state"] = "{\"update\": " + csi + "2J}";
  const auto of_state = message();
  EXPECT_THAT(of_state, testing::HasSubstr("expected a training snapshot, got "));
  for (const auto& text : {of_identity, of_state}) {
    EXPECT_THAT(text, testing::Not(testing::HasSubstr(csi)));
  }
}

TEST_F(TrainerTest, PairsThatCannotBeUsedAreLeftOutAndCounted) {
  TemporaryFolder folder;
  train_.source.push_back("");
  train_.target.push_back("a");
  train_.source.push_back(
      "1 2 3 4 5 6 1 2 3 4 5 6 1 2 3 4 5 6 1 2 3 4 5 6 1 2 3 4 5 6 1 2 3 4 5 6");
  train_.target.push_back("a");
  std::vector<std::string> notes;
  TrainingCallbacks callbacks;
  callbacks.note = [&](const std::string& text) { notes.push_back(text); };
  train(folder, options(5), callbacks);
  ASSERT_FALSE(notes.empty());
  EXPECT_EQ(notes.front(),
            "left out 2 of 302 training pairs: 1 with an empty side, 1 of more than 31 tokens");
}

// Pools of one block each, an epoch of three: what a corpus larger than memory is to a large pool.
TEST_F(TrainerTest, ACorpusOnTheDiskIsTrainedOnByPoolsAndResumedInTheMiddleOfOne) {
  const TemporaryFolder folder, corpus_folder;
  torch::set_num_threads(1);
  const auto large = reversed_digits(2500, 3);
  FilterCounts counts;
  TokenFileWriter writer(corpus_folder.path() / "tokens");
  for (const auto& pair : encode_pairs(large, tokenizer_, {}, counts)) writer.add(pair);
  const EncodedCorpus corpus{writer.commit(""), counts};
  auto o = options(220);
  o.shuffle_pairs = static_cast<int64_t>(TokenFile::kBlockPairs);
  o.valid_freq = {300, Duration::Unit::kUpdates};
  std::vector<int64_t> epochs;
  const auto train_from_disk = [&](const TrainingCallbacks& callbacks) {
    Trainer trainer(new_model(tokenizer_), tokenizer_, corpus, valid_, folder.path(), o,
                    test_device());
    return trainer.run(callbacks);
  };
  TrainingCallbacks callbacks;
  callbacks.report = [&](const TrainingReport& report) {
    epochs.push_back(report.epoch);
    EXPECT_LE(report.examples, 2500);
  };
  train_from_disk(callbacks);
  EXPECT_GE(epochs.back(), 2) << "no epoch ended in " << o.after.amount << " updates";
  const auto uninterrupted = weights_in(folder);
  std::filesystem::remove(folder.path() / "training.safetensors");

  int64_t update = 0;
  TrainingCallbacks stopping;
  stopping.progress = [&](const TrainingReport& report) { update = report.update; };
  stopping.stop_requested = [&] { return update == 61 || update == 150; };
  EXPECT_TRUE(train_from_disk(stopping).interrupted);
  EXPECT_TRUE(train_from_disk(stopping).interrupted);
  EXPECT_EQ(train_from_disk({}).updates, 220);
  expect_equal(weights_in(folder), uninterrupted);
}

TEST_F(TrainerTest, ASmallCorpusOnTheDiskIsTrainedOnAsInMemory) {
  const TemporaryFolder in_memory, on_disk, corpus_folder;
  torch::set_num_threads(1);
  train(in_memory, options(12));
  FilterCounts counts;
  TokenFileWriter writer(corpus_folder.path() / "tokens");
  for (const auto& pair : encode_pairs(train_, tokenizer_, {}, counts)) writer.add(pair);
  Trainer trainer(new_model(tokenizer_), tokenizer_, EncodedCorpus{writer.commit(""), counts},
                  valid_, on_disk.path(), options(12), test_device());
  trainer.run();
  expect_equal(weights_in(on_disk), weights_in(in_memory));
}

// A model whose loss is not a number at some updates.
class FaultyModel : public Seq2SeqImpl {
 public:
  FaultyModel(const Seq2SeqOptions& options, std::set<int> bad)
      : Seq2SeqImpl(options), bad_(std::move(bad)) {}

  torch::Tensor loss_sum(const torch::Tensor& source, const torch::Tensor& target,
                         const torch::Tensor& labels, double label_smoothing) override {
    const auto loss = Seq2SeqImpl::loss_sum(source, target, labels, label_smoothing);
    return is_training() && bad_.contains(++calls_) ? loss * std::nan("") : loss;
  }

 private:
  std::set<int> bad_;
  int calls_ = 0;
};

std::shared_ptr<TranslationModel> faulty_model(const SubwordTokenizer& tokenizer,
                                               std::set<int> bad) {
  torch::manual_seed(7);
  return std::make_shared<FaultyModel>(model_options(tokenizer), std::move(bad));
}

TEST_F(TrainerTest, UpdatesThatAreNotFiniteAreLeftOutAndCounted) {
  const TemporaryFolder folder;
  Trainer trainer(faulty_model(tokenizer_, {2, 3, 9}), tokenizer_, train_, valid_, folder.path(),
                  options(10), test_device());
  TrainingCallbacks callbacks;
  std::vector<int64_t> skipped;
  std::vector<double> costs;
  callbacks.report = [&](const TrainingReport& report) {
    skipped.push_back(report.skipped);
    costs.push_back(report.cost);
    EXPECT_TRUE(std::isfinite(report.gradient_norm));
  };
  EXPECT_EQ(trainer.run(callbacks).updates, 10);
  EXPECT_EQ(skipped, (std::vector<int64_t>{2, 1}));
  for (const auto cost : costs) EXPECT_TRUE(cost > 0.5 && cost < 10) << cost;
  for (const auto& [name, tensor] : weights_in(folder)) {
    EXPECT_TRUE(tensor.isfinite().all().item<bool>()) << name;
  }
}

TEST_F(TrainerTest, TooManyInARowEndTheRunWithTheBatch) {
  const TemporaryFolder folder;
  auto o = options(30);
  o.max_bad_updates = 3;
  // Two in a row are let through, three are not.
  Trainer trainer(faulty_model(tokenizer_, {11, 12, 14, 15, 16}), tokenizer_, train_, valid_,
                  folder.path(), o, test_device());
  try {
    trainer.run();
    FAIL() << "expected an error";
  } catch (const c10::Error& error) {
    const std::string text = error.what_without_backtrace();
    EXPECT_TRUE(
        text.starts_with("TrainingLoop: expected a finite loss and gradient, got none in 3 "
                         "updates in a row; the last was update 16, batch 7 of epoch 2, "
                         "whose first pair of "))
        << text;
  }
  // The snapshot of update 10 is whole.
  EXPECT_EQ(train(folder, options(12)).updates, 12);
}

TEST_F(TrainerTest, TheModelAtTheEndIsTheMeanOfTheLastCheckpoints) {
  const TemporaryFolder folder;
  auto o = options(40);
  o.exponential_smoothing = 0;
  o.average_checkpoints = 3;
  std::vector<std::map<std::string, torch::Tensor>> saved;
  std::vector<bool> of_mean;
  TrainingCallbacks callbacks;
  callbacks.validation = [&](const ValidationReport& report) { of_mean.push_back(report.of_mean); };
  train(folder, o, callbacks);
  EXPECT_EQ(of_mean, (std::vector<bool>{false, false, false, false, true}));
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path() / "checkpoints")) {
    names.push_back(entry.path().filename().string());
    saved.push_back(read_safetensors(entry.path()).tensors);
  }
  std::ranges::sort(names);
  EXPECT_EQ(names, (std::vector<std::string>{"update-0000000020.safetensors",
                                             "update-0000000030.safetensors",
                                             "update-0000000040.safetensors"}));
  const auto weights = weights_in(folder);
  const auto key = std::string("model.shared.weight");
  EXPECT_TENSOR_NEAR(weights.at(key), (saved[0].at(key) + saved[1].at(key) + saved[2].at(key)) / 3,
                     1e-6);
}

// A model that counts the steps of its own that are taken.
class CountedModel : public Seq2SeqImpl {
 public:
  using Seq2SeqImpl::Seq2SeqImpl;
  StepOutput step(const torch::Tensor& tokens, DecoderState& state, bool want_alignment) override {
    ++steps;
    return Seq2SeqImpl::step(tokens, state, want_alignment);
  }
  int64_t steps = 0;
};

TEST_F(TrainerTest, ValidationTranslatesAsTheModelDoes) {
  const TemporaryFolder folder;
  auto o = options(40);
  o.exponential_smoothing = 0;
  o.valid_metrics = {"chrf"};
  o.valid_beam_size = 2;
  torch::manual_seed(7);
  const auto model = std::make_shared<CountedModel>(model_options(tokenizer_));
  Trainer trainer(model, tokenizer_, train_, valid_, folder.path(), o, test_device());
  const auto result = trainer.run();
  // On the CPU it is a prepared model that does.
  EXPECT_EQ(model->steps == 0, test_device().is_cpu());
  const Translator translator(model, tokenizer_, {.beam_size = 2}, test_device());
  std::vector<std::string> hypotheses;
  for (const auto& found : translator.translate(valid_.source)) {
    hypotheses.push_back(found.front().text);
  }
  EXPECT_GT(model->steps, 0);
  ASSERT_TRUE(result.last.has_value());
  EXPECT_EQ(result.last->scores.front().second,
            corpus_chrf(hypotheses, valid_.target, {.word_order = 0}).score);
}

TEST_F(TrainerTest, EveryMetricIsScored) {
  const TemporaryFolder folder;
  auto o = options(10);
  o.valid_metrics = {"cross-entropy", "perplexity", "word-cross-entropy", "word-perplexity", "bleu",
                     "chrf",          "chrf++"};
  const auto result = train(folder, o);
  ASSERT_TRUE(result.last.has_value());
  std::map<std::string, double> scores(result.last->scores.begin(), result.last->scores.end());
  ASSERT_EQ(scores.size(), 7U);
  EXPECT_NEAR(scores["perplexity"], std::exp(scores["cross-entropy"]), 1e-9);
  EXPECT_NEAR(scores["word-perplexity"], std::exp(scores["word-cross-entropy"]), 1e-9);
  int64_t tokens = 0, words = 0;
  for (const auto& target : valid_.target) {
    tokens += static_cast<int64_t>(tokenizer_.encode_target(target).size());
    words += static_cast<int64_t>(target.size() + 1) / 2;  // letters with a space between them
  }
  EXPECT_NEAR(scores["word-cross-entropy"] * static_cast<double>(words),
              scores["cross-entropy"] * static_cast<double>(tokens), 1e-6);
  o.valid_metrics = {"accuracy"};
  EXPECT_THROW_MESSAGE(
      o.validate(), c10::ValueError,
      "TrainerOptions: expected valid_metrics of cross-entropy, perplexity, word-cross-entropy, "
      "word-perplexity, bleu, chrf, chrf++, got accuracy");
}

// Products in bfloat16: nearly the same costs, weights in float32, and the same bits after a stop.
TEST_F(TrainerTest, ProductsInBFloat16) {
  torch::set_num_threads(1);
  const auto vocab = tokenizer_.vocab_size();
  const std::vector<std::function<std::shared_ptr<TranslationModel>()>> kinds{
      [&] { return new_model(tokenizer_); },
      [&]() -> std::shared_ptr<TranslationModel> {
        return RecurrentSeq2Seq(RecurrentSeq2SeqOptions(vocab, vocab, 32)).ptr();
      }};
  for (size_t kind = 0; kind < 2 * kinds.size(); ++kind) {
    const auto& make = kinds[kind / 2];
    std::vector<double> costs;
    std::vector<std::map<std::string, torch::Tensor>> weights;
    for (const auto precision : {Precision::kOfModel, Precision::kBFloat16}) {
      for (const bool interrupted : {false, true}) {
        const TemporaryFolder folder;
        auto o = options(30);
        o.precision = precision;
        o.batch_shares = 1 + static_cast<int64_t>(kind % 2);
        TrainingCallbacks callbacks;
        callbacks.report = [&](const TrainingReport& report) { costs.push_back(report.cost); };
        if (interrupted) {
          TrainingCallbacks stop;
          stop.stop_requested = [] { return true; };
          torch::manual_seed(7);
          EXPECT_TRUE(Trainer(make(), tokenizer_, train_, valid_, folder.path(), o, test_device())
                          .run(stop)
                          .interrupted);
        }
        torch::manual_seed(7);
        Trainer(make(), tokenizer_, train_, valid_, folder.path(), o, test_device()).run(callbacks);
        weights.push_back(weights_in(folder));
      }
    }
    ASSERT_EQ(costs.size(), 24U);
    constexpr double kEpsilon = 0x1p-8;  // of bfloat16
    for (size_t i = 0; i < 6; ++i) EXPECT_NEAR(costs[12 + i] / costs[i], 1.0, 2 * kEpsilon) << i;
    for (const auto& [name, tensor] : weights[2]) {
      EXPECT_EQ(tensor.scalar_type(), torch::kFloat) << name;
    }
    expect_equal(weights[2], weights[3]);
    EXPECT_FALSE(torch::equal(weights[0].begin()->second, weights[2].begin()->second));
  }
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
