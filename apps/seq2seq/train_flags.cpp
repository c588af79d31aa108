#include "train_flags.h"

#include <string>

#include "common/choice.h"
#include "common/number_flag.h"

namespace attend::app {
namespace {

constexpr double kMany = 1e9;
constexpr NumberRange<int64_t> kCounts{.least = 1, .most = 1'000'000'000};
constexpr NumberRange<int64_t> kCountsOrNone{.least = 0, .most = 1'000'000'000};
constexpr NumberRange<double> kPositive{.least = 0, .most = kMany, .without_least = true};
constexpr NumberRange<double> kPositiveOrNone{.least = 0, .most = kMany};

constexpr auto kGroup = "Training";

// Adds flags to the group "Training" of the help.
struct TrainingFlags {
  CLI::App& app;

  template <Number Value>
  void number(const std::string& flag, Value& value, const NumberRange<Value>& range,
              const std::string& help) const {
    add_number(app, flag, value, range, help)->group(kGroup);
  }
  template <typename Value>
  void choose(const std::string& flag, Value& value, const Choices<Value>& choices,
              const std::string& help) const {
    add_choice(app, flag, value, choices, help)->group(kGroup);
  }
};

void add_duration(CLI::App& app, const std::string& flag, Duration& duration,
                  const std::string& help) {
  app.add_option_function<std::string>(
         flag,
         [&duration, flag](const std::string& text) {
           try {
             duration = Duration::parse(text);
           } catch (const c10::Error&) {
             throw CLI::ValidationError(
                 flag,
                 "expected a number > 0 and e (epochs), u (updates) or m (minutes), such as "
                 "20e, got " +
                     shown(text));
           }
         },
         help + " (e epochs, u updates, m minutes)")
      ->type_name("TIME")
      ->default_str(duration.to_string());
}

void add_batch_flags(const TrainingFlags& add, TrainerOptions& o) {
  constexpr NumberRange<int64_t> kPairs{.least = 1, .most = 1'000'000'000'000};
  add.number("--batch-tokens", o.batch_tokens, kCounts,
             "Tokens of a batch on its longer side, padding counted");
  add.number("--max-length", o.filter.max_length, kCounts, "Skip pairs with a side of more tokens");
  add.number("--max-length-ratio", o.filter.max_ratio,
             NumberRange<double>{.least = 1, .most = kMany, .or_zero = true},
             "Skip pairs whose lengths have a larger ratio; 0: skip none");
  add.number("--shuffle-pairs", o.shuffle_pairs, kPairs,
             "Pairs in memory at a time, from which batches are formed; a larger corpus is read in "
             "random blocks");
  add.number(
      "--bpe-dropout", o.bpe_dropout, kProbability,
      "BPE-dropout: probability of skipping a merge, drawn anew in each epoch, [0, 1); needs "
      "--subword-model bpe");
}

void add_update_flags(const TrainingFlags& add, TrainerOptions& o) {
  add.number("--label-smoothing", o.label_smoothing, kProbability, "Label smoothing, [0, 1)");
  add.number("--clip-norm", o.clip_norm, kPositiveOrNone,
             "Clip gradients to this norm; 0: no clipping");
  add.number("--exponential-smoothing", o.exponential_smoothing, kProbability,
             "Exponential moving average of the weights, weight of each update; 0: none");
  add.number("--average-checkpoints", o.average_checkpoints, kCountsOrNone,
             "Final model: mean of this many last validated checkpoints; 0: the last one");
  add.number("--max-bad-updates", o.max_bad_updates, kCounts,
             "Stop after this many consecutive updates with a non-finite loss or gradient");
  add.choose("--precision", o.precision,
             Choices<Precision>{{"fp32", Precision::kOfModel}, {"bf16", Precision::kBFloat16}},
             "Precision of matrix products; use bf16 if the device has fast bfloat16 products");
  add.number("--learn-rate", o.schedule.peak, kPositive, "Peak learning rate");
  add.number("--lr-warmup", o.schedule.warmup, kCountsOrNone, "Updates of linear warm-up");
  add.choose("--lr-decay", o.schedule.decay,
             Choices<Decay>{{"inverse-sqrt", Decay::kInverseSquareRoot},
                            {"linear", Decay::kLinear},
                            {"none", Decay::kNone}},
             "Learning rate decay after the warm-up");
  add.number("--cooldown", o.schedule.cooldown, kPart,
             "Fraction at the end of the run in which the rate falls, [0, 1]");
  add.number("--cooldown-floor", o.schedule.cooldown_floor, kPart,
             "Final rate of the cooldown, relative to the rate without it");
}

void add_optimizer_flags(const TrainingFlags& add, TrainerOptions& o) {
  add.choose("--optimizer", o.optimizer,
             Choices<OptimizerKind>{{"adam", OptimizerKind::kAdam}, {"muon", OptimizerKind::kMuon}},
             "muon: orthogonalised momentum for weight matrices, Adam for other parameters");
  add.number("--muon-momentum", o.muon.momentum, kProbability, "Muon: momentum");
  add.number("--muon-scale", o.muon.scale, kPositive,
             "Muon: root mean square of an update, relative to the learning rate");
  add.number("--muon-iterations", o.muon.iterations, NumberRange<int64_t>{.least = 1, .most = 1000},
             "Muon: Newton-Schulz iterations");
  add.number("--adam-beta1", o.adam.beta1, kProbability, "Adam: decay of the first moment");
  add.number("--adam-beta2", o.adam.beta2, kProbability, "Adam: decay of the second moment");
  add.number("--adam-eps", o.adam.epsilon, kPositive,
             "Adam: added to the root of the second moment");
  add.number("--weight-decay", o.adam.weight_decay, kPositiveOrNone, "Decoupled weight decay");
}

void add_validation_flags(const TrainingFlags& add, TrainerOptions& o) {
  add.number("--early-stopping", o.early_stopping, kCountsOrNone,
             "Stop after this many validations without improvement of the last metric; 0: never");
  add.app
      .add_option(
          "--valid-metrics", o.valid_metrics,
          "Any of cross-entropy, perplexity, word-cross-entropy, word-perplexity, bleu, chrf "
          "and chrf++")
      ->capture_default_str()
      ->group(kGroup);
  add.number("--valid-beam-size", o.valid_beam_size, kBeamSizes,
             "Beam size for bleu, chrf and chrf++");
  add.choose("--valid-tokenize", o.bleu_tokenizer, bleu_tokenizers(), "BLEU tokenizer");
  add.number("--seed", o.seed, kSeeds, "Random seed of initial weights, order and dropout");
}

void add_subword_flags(CLI::App& app, SubwordChoice& o) {
  // At least </s>, <unk>, <pad> and one character.
  add_number(app, "--vocab-size", o.training.vocab_size, {.least = 4, .most = 10'000'000},
             "Size of the joint vocabulary, special tokens included");
  add_choice(
      app, "--subword-model", o.training.model,
      Choices<SubwordModel>{{"unigram", SubwordModel::kUnigram}, {"bpe", SubwordModel::kBpe}},
      "Algorithm that learns subwords");
  app.add_flag("!--subword-mix-scripts", o.training.split_by_unicode_script,
               "Allow letters and punctuation in one piece, for tokenized text (&apos;)");
  auto* separate = app.add_flag(
      "--separate-vocabs", o.separate_vocabs,
      "A vocabulary per side with the joint subwords in its text: smaller output layer");
  app.add_flag("--restrict-vocab", o.restrict_vocab,
               "One vocabulary with the joint subwords in the texts, and an output layer for the "
               "target's only: smaller, with embeddings shared by both sides")
      ->excludes(separate);
  add_number(app, "--subword-pairs", o.pairs, {.least = 1, .most = 1'000'000'000},
             "Train subwords on at most this many pairs, spread over the corpus");
}

}  // namespace

void add_train_flags(CLI::App& app, TrainOptions& o) {
  app.add_option("-m,--model-dir", o.model_dir, "Folder to train into")->required();
  app.add_option("-t,--train-sets", o.train_sets, "Source and target text, one sentence per line")
      ->expected(2)
      ->required();
  app.add_option("--valid-sets", o.valid_sets, "The same for validation")->expected(2);
  add_model_choice(app, o.model);
  add_subword_flags(app, o.subwords);
  add_duration(app, "--after", o.trainer.after, "Stop after");
  add_duration(app, "--valid-freq", o.trainer.valid_freq, "Validate and save every");
  add_duration(app, "--disp-freq", o.trainer.disp_freq, "Report every");
  const TrainingFlags training{app};
  add_batch_flags(training, o.trainer);
  add_update_flags(training, o.trainer);
  add_optimizer_flags(training, o.trainer);
  add_validation_flags(training, o.trainer);
  add_number(app, "--worker-timeout", o.worker_timeout, {.least = 1, .most = 1'000'000'000},
             "Seconds that processes started by torchrun wait for each other");
  app.add_flag("!--no-reload", o.trainer.reload,
               "Train from scratch even if the folder has a snapshot");
  app.add_flag("--shortlist", o.shortlist,
               "When training has finished, learn the lexicon of translate --shortlist: lex.s2t in "
               "the model's folder");
  add_machine_options(app, o.machine);
}

}  // namespace attend::app
