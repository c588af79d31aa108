#include "common/demo_training.h"

#include <fmt/format.h>

#include <algorithm>
#include <iostream>

#include "attend/text/subword_training.h"
#include "attend/training/folder_lock.h"
#include "attend/training/trainer.h"
#include "common/console.h"
#include "common/model_choice.h"

namespace attend::app {
namespace {

// Sizes that were found by experiment to train in about four minutes on two cores.
ModelChoice demo_model(const DemoTraining& o) {
  ModelChoice choice;
  choice.kind = o.model;
  choice.embed_dim = o.model == "recurrent" ? 192 : 128;
  choice.encoder_layers = choice.decoder_layers = 2;
  choice.ffn_dim = 512;
  choice.dropout = 0.0;  // the data has no noise to overfit, and training is faster without
  choice.max_positions = 128;
  return choice;
}

TrainerOptions trainer_options(const DemoTraining& o) {
  TrainerOptions options;
  options.after = {static_cast<double>(o.updates), Duration::Unit::kUpdates};
  options.valid_freq = {std::max(1.0, static_cast<double>(o.updates) / 4),
                        Duration::Unit::kUpdates};
  options.disp_freq = {std::max(1.0, static_cast<double>(o.updates) / 16),
                       Duration::Unit::kUpdates};
  options.batch_tokens = 1536;
  options.schedule = {.peak = o.model == "recurrent" ? 2e-3 : 3e-3,
                      .warmup = std::min<int64_t>(400, o.updates / 4),
                      .decay = Decay::kLinear};
  options.exponential_smoothing = 0.005;
  options.valid_metrics = {"cross-entropy"};
  options.seed = o.seed;
  options.reload = o.reload;
  return options;
}

}  // namespace

DemoCorpusOptions demo_corpus() { return {.train = 80000}; }

ParallelText demo_texts(const std::vector<DemoPair>& pairs) {
  ParallelText text;
  for (const auto& pair : pairs) {
    text.source.push_back(pair.source);
    text.target.push_back(pair.target);
  }
  return text;
}

Translator train_demo(const std::filesystem::path& folder, const DemoTraining& training,
                      const DemoCorpus& corpus, torch::Device device) {
  TrainingConsole console(/*quiet=*/false);
  const FolderLock lock(folder);
  const auto train = demo_texts(corpus.train);
  const bool resume = training.reload && has_snapshot(folder);
  const auto tokenizer = [&] {
    if (resume) return SubwordTokenizer::load(folder);
    auto sentences = train.source;
    sentences.insert(sentences.end(), train.target.begin(), train.target.end());
    return train_subwords(sentences,
                          {.vocab_size = training.vocab_size,
                           .tokenizer = {.source_language = "en", .target_language = "fr"}});
  }();
  torch::manual_seed(training.seed);
  auto model = make_model(demo_model(training), tokenizer);
  Trainer trainer(model, tokenizer, train, demo_texts(corpus.validation), folder,
                  trainer_options(training), device);
  const auto result = trainer.run(console.callbacks());
  TORCH_CHECK(!result.interrupted, "interrupted; the same command goes on from update ",
              result.updates);
  std::cout << fmt::format("Trained {} updates in {} with {} threads.\n", result.updates,
                           clock_time(result.elapsed), torch::get_num_threads());
  return Translator::load(folder, {.beam_size = 1}, device);
}

}  // namespace attend::app
