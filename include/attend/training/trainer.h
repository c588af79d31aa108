#pragma once

// For programs that train.

#include <torch/torch.h>

#include <filesystem>
#include <memory>

#include "attend/data/encode_corpus.h"
#include "attend/data/parallel_text.h"
#include "attend/models/incremental_model.h"
#include "attend/text/subword_tokenizer.h"
#include "attend/toolkit_export.h"
#include "attend/training/trainer_options.h"
#include "attend/training/training_loop.h"

namespace attend {

/// Trains a translation model on sentence pairs, into a model folder: a `TrainingLoop` with the task
/// of a translator.
///
/// The folder's models are as `save_model` writes them, with their tokenizer. Batch k of epoch e is a
/// pure function of (seed, e, k, corpus) and the options that make batches. Several threads call the
/// model's `loss_sum` at a time unless `batch_shares` is 1.
///
/// Throws: as `TrainingLoop`; c10::ValueError also for a tokenizer that is not BPE with `bpe_dropout`;
///         FileError also if the folder's snapshot belongs to another corpus, model or way to make
///         batches.
class ATTEND_TOOLKIT_API Trainer {
 public:
  Trainer(std::shared_ptr<TranslationModel> model, SubwordTokenizer tokenizer,
          const ParallelText& train, const ParallelText& valid, std::filesystem::path folder,
          const TrainerOptions& options = {}, torch::Device device = torch::kCPU,
          const WorkerGroup& workers = {});
  /// The same from a corpus on the disk, which `encode_corpus` made with `filter_for` the model.
  Trainer(std::shared_ptr<TranslationModel> model, SubwordTokenizer tokenizer,
          const EncodedCorpus& train, const ParallelText& valid, std::filesystem::path folder,
          const TrainerOptions& options = {}, torch::Device device = torch::kCPU,
          const WorkerGroup& workers = {});
  ~Trainer();
  Trainer(const Trainer&) = delete;
  Trainer& operator=(const Trainer&) = delete;
  Trainer(Trainer&&) = delete;
  Trainer& operator=(Trainer&&) = delete;

  /// Trains to the end, or until stopped.
  TrainingResult run(const TrainingCallbacks& callbacks = {});

  /// Whether the run goes on from a snapshot.
  bool resumed() const;

 private:
  class State;
  std::unique_ptr<State> state_;
};

}  // namespace attend
