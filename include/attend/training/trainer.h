#pragma once

#include <torch/torch.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "attend/data/encode_corpus.h"
#include "attend/data/parallel_text.h"
#include "attend/models/incremental_model.h"
#include "attend/text/subword_tokenizer.h"
#include "attend/toolkit_export.h"
#include "attend/training/adam.h"
#include "attend/training/muon.h"
#include "attend/training/schedule.h"
#include "attend/training/worker_group.h"
#include "attend/translation/bleu.h"

namespace attend {

/// An amount of training: "20e" epochs, "5000u" updates or "30m" minutes.
struct ATTEND_TOOLKIT_API Duration {
  enum class Unit { kEpochs, kUpdates, kMinutes };
  double amount = 0;
  Unit unit = Unit::kUpdates;

  /// Throws c10::ValueError for anything but a number > 0 and one of e, u, m.
  static Duration parse(const std::string& text);
  std::string to_string() const;
};

/// The numbers of the matrix products of training. Weights, sums and the optimiser's state are those
/// of the model, float32 as a rule, with either.
enum class Precision {
  kOfModel,  // the model's own
  kBFloat16,  // LibTorch's autocast: half the memory traffic, and products at several times the speed
              // where the processor has them
};

/// What changes the weights by their gradients.
enum class OptimizerKind {
  kAdam,  // `Adam` of all parameters
  kMuon,  // `Muon` of the matrices between layers, `Adam` of all else
};

/// What a run of `Trainer` does.
struct ATTEND_TOOLKIT_API TrainerOptions {
  Duration after{20, Duration::Unit::kEpochs};        // stop then
  Duration valid_freq{1, Duration::Unit::kEpochs};    // validate and save that often
  Duration disp_freq{100, Duration::Unit::kUpdates};  // report that often
  int64_t batch_tokens = 4096;      // tokens of a batch on its longer side, padding counted
  PairFilter filter;                // which training pairs are left out
  int64_t shuffle_pairs = 1 << 18;  // batches are made of so many pairs at a time: all of them, or
                                    // what is in memory of a larger corpus
  double bpe_dropout = 0.0;         // [0, 1): probability of leaving out a merge of BPE; the
                                    // training pairs are cut anew in each epoch (`BpeDropout`).
                                    // 0.1 in the paper; 0: subwords stay
  double label_smoothing = 0.1;     // [0, 1)
  double clip_norm = 1.0;           // the largest norm of a gradient; 0: no limit
  double exponential_smoothing = 0.0;  // > 0: average the weights, each update with this part; the
                                       // average is what is validated and saved as the model
  int64_t average_checkpoints = 0;     // > 0: the model at the end is the mean of the last so many
                                       // validated ones
  int64_t max_bad_updates = 10;  // an update whose loss or gradient is not finite is left out;
                                 // after so many in a row the run stops with an error
  int64_t batch_shares = 0;  // on CPU: threads that each compute a share of a batch by themselves
                             // (`BatchThreads`); 0: as many as LibTorch has, but not so many that
                             // a share has fewer than 512 tokens
  Precision precision = Precision::kOfModel;  // of products in training; validation is exact
  Schedule schedule;
  OptimizerKind optimizer = OptimizerKind::kAdam;
  AdamOptions adam;            // of all parameters, or of those that Muon leaves
  MuonOptions muon;            // of the matrices, if it is the optimiser
  int64_t early_stopping = 0;  // stop after that many validations without a better score of the
                               // last metric; 0: never
  std::vector<std::string> valid_metrics{"cross-entropy", "bleu"};
  // cross-entropy, perplexity: of a target token, in nats; word-cross-entropy, word-perplexity: of
  // a target word (white space parts words); bleu; chrf; chrf++
  BleuTokenizer bleu_tokenizer = BleuTokenizer::k13a;  // kNone where the text is tokenized already
  int64_t valid_beam_size = 1;  // for the metrics that translate; 1 is greedy search
  uint64_t seed = 1;            // of initial weights, order and dropout
  bool reload = true;           // go on from the folder's snapshot if it has one

  /// Throws c10::ValueError for a field out of its range.
  void validate() const;
};

/// One line of a run's log: what happened since the last one.
struct TrainingReport {
  int64_t epoch = 0;             // 1 for the first
  int64_t update = 0;            // updates so far
  int64_t sentences = 0;         // of this epoch so far
  double cost = 0;               // label-smoothed cross-entropy a target token, in nats
  double tokens_per_second = 0;  // real tokens, source and target together
  double gradient_norm = 0;      // mean, before clipping
  int64_t skipped = 0;           // updates left out, since their loss or gradient was not finite
  double learning_rate = 0;      // of the last update
  double progress = 0;           // part of the run that is done, [0, 1]
  double elapsed = 0;            // seconds of training, interruptions not counted
  double time_left = 0;          // seconds, estimated
};

/// The scores of a validation.
struct ValidationReport {
  int64_t epoch = 0;
  int64_t update = 0;
  double elapsed = 0;                                  // seconds of training so far
  std::vector<std::pair<std::string, double>> scores;  // in the order of valid_metrics
  std::vector<std::string> improved;                   // metrics at their best so far
  bool of_mean = false;                                // of the mean of the last checkpoints
};

/// Where a run tells what happens; each may be empty.
struct TrainerCallbacks {
  std::function<void(const TrainingReport&)> progress;      // after every update
  std::function<void(const TrainingReport&)> report;        // every disp_freq
  std::function<void(const ValidationReport&)> validation;  // after every validation
  std::function<void(const std::string&)> note;             // anything else worth a line
  std::function<bool()> stop_requested;                     // true: save and return
};

/// How a run ended.
struct TrainingResult {
  bool interrupted = false;              // by stop_requested
  int64_t updates = 0;                   // in all
  double elapsed = 0;                    // seconds
  std::optional<ValidationReport> last;  // the last validation
};

/// Trains a translation model on sentence pairs, into a model folder.
///
/// The folder holds the last model (as `save_model` writes it) with its tokenizer, the best one by
/// each metric in `best-<metric>/`, a log of one JSON object a line in `metrics.jsonl`, and the one
/// file that resuming reads, `training.safetensors`: weights, optimiser, schedule, counters and
/// random states. Each file is replaced whole or not at all, the snapshot last, so a kill or a full
/// disk at any moment leaves a folder to go on from. Batch k of epoch e is a pure function of
/// (seed, e, k, corpus) and the options that make batches, and so are the random numbers of an
/// update: a resumed run does what the uninterrupted one would have done, bit by bit on the same CPU
/// with as many threads. Several threads call the model's `loss_sum` at a time unless `batch_shares`
/// is 1.
///
/// Several processes (`workers`) share each batch, and their gradient is that of the whole batch: a
/// run may go on with another number of them. The first one writes; the others read the same folder.
/// Nothing here keeps two runs out of one folder: a program takes a `FolderLock` before it begins.
///
/// Throws: c10::ValueError for options, and for a tokenizer that is not BPE with `bpe_dropout`;
///         FileError for files, and if the folder's snapshot belongs to another corpus, model or
///         way to make batches; c10::Error from `run`, where updates stay without a finite gradient
///         (it names the batch), or where a process is lost. The folder's last snapshot is whole
///         then.
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
  TrainingResult run(const TrainerCallbacks& callbacks = {});

  /// Whether the run goes on from a snapshot.
  bool resumed() const;

 private:
  class Run;
  std::unique_ptr<Run> run_;
};

/// The options' filter, which also leaves out what is longer than the model can take.
ATTEND_TOOLKIT_API PairFilter filter_for(const TranslationModel& model,
                                         const TrainerOptions& options);

/// Whether `folder` holds a snapshot to go on from.
ATTEND_TOOLKIT_API bool has_snapshot(const std::filesystem::path& folder);

}  // namespace attend
