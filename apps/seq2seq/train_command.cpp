#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <span>
#include <thread>

#include "attend/checkpoint/model_folder.h"
#include "attend/data/encode_corpus.h"
#include "attend/data/parallel_text.h"
#include "attend/functional/linear.h"
#include "attend/models/recurrent_seq2seq.h"
#include "attend/models/seq2seq.h"
#include "attend/text/subword_training.h"
#include "attend/training/folder_lock.h"
#include "attend/training/trainer.h"
#include "attend/training/worker_group.h"
#include "begun_run.h"
#include "commands.h"
#include "common/choice.h"
#include "common/console.h"
#include "common/machine.h"
#include "common/model_choice.h"
#include "common/number_flag.h"
#include "curves.h"
#include "detail/atomic_file.h"
#include "rereadable_texts.h"

namespace attend::app {
namespace {

struct TrainOptions {
  std::filesystem::path model_dir;
  std::vector<std::filesystem::path> train_sets, valid_sets;
  ModelChoice model;
  SubwordChoice subwords;
  TrainerOptions trainer;
  int64_t worker_timeout = WorkerGroup::kTimeout.count();
  MachineOptions machine;
  bool quiet = false;
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

void add_trainer_options(CLI::App& app, TrainerOptions& o) {
  constexpr auto kGroup = "Training";
  add_duration(app, "--after", o.after, "Stop after");
  add_duration(app, "--valid-freq", o.valid_freq, "Validate and save every");
  add_duration(app, "--disp-freq", o.disp_freq, "Report every");
  const auto number = [&](const std::string& flag, auto& value, const auto& range,
                          const std::string& help) {
    add_number(app, flag, value, range, help)->group(kGroup);
  };
  constexpr double kMany = 1e9;
  constexpr NumberRange<int64_t> kCounts{.least = 1, .most = 1'000'000'000};
  constexpr NumberRange<int64_t> kCountsOrNone{.least = 0, .most = 1'000'000'000};
  constexpr NumberRange<int64_t> kPairs{.least = 1, .most = 1'000'000'000'000};
  constexpr NumberRange<double> kPositive{.least = 0, .most = kMany, .without_least = true};
  constexpr NumberRange<double> kPositiveOrNone{.least = 0, .most = kMany};
  number("--batch-tokens", o.batch_tokens, kCounts,
         "Tokens of a batch on its longer side, padding counted");
  number("--max-length", o.filter.max_length, kCounts,
         "Leave out pairs with a longer side, in tokens");
  number("--max-length-ratio", o.filter.max_ratio,
         NumberRange<double>{.least = 1, .most = kMany, .or_zero = true},
         "Leave out pairs with a side so many times as long as the other; 0: none");
  number("--shuffle-pairs", o.shuffle_pairs, kPairs,
         "Pairs in memory at a time, which batches are made of; fewer than the corpus: in random "
         "blocks");
  number("--bpe-dropout", o.bpe_dropout, kProbability,
         "Probability that a merge of BPE is left out, drawn anew in each epoch, [0, 1); needs "
         "--subword-model bpe");
  number("--label-smoothing", o.label_smoothing, kProbability, "Label smoothing, [0, 1)");
  number("--clip-norm", o.clip_norm, kPositiveOrNone, "Largest norm of a gradient; 0: no limit");
  number("--exponential-smoothing", o.exponential_smoothing, kProbability,
         "Average the weights, each update with this part; 0: no average");
  number("--average-checkpoints", o.average_checkpoints, kCountsOrNone,
         "The model at the end: the mean of the last so many validated ones; 0: the last one");
  number("--max-bad-updates", o.max_bad_updates, kCounts,
         "Stop after so many updates in a row without a finite loss and gradient");
  const auto choose = [&](const std::string& flag, auto& value, const auto& choices,
                          const std::string& help) {
    add_choice(app, flag, value, choices, help)->group(kGroup);
  };
  choose("--precision", o.precision,
         Choices<Precision>{{"fp32", Precision::kOfModel}, {"bf16", Precision::kBFloat16}},
         "Of matrix products; bf16 where the processor is fast at it");
  number("--learn-rate", o.schedule.peak, kPositive, "Highest learning rate");
  number("--lr-warmup", o.schedule.warmup, kCountsOrNone, "Updates of linear warm-up");
  choose("--lr-decay", o.schedule.decay,
         Choices<Decay>{{"inverse-sqrt", Decay::kInverseSquareRoot},
                        {"linear", Decay::kLinear},
                        {"none", Decay::kNone}},
         "After the warm-up");
  number("--cooldown", o.schedule.cooldown, kPart,
         "Last part of the run with a falling rate, [0, 1]");
  number("--cooldown-floor", o.schedule.cooldown_floor, kPart,
         "Where it falls to, as a part of itself");
  choose("--optimizer", o.optimizer,
         Choices<OptimizerKind>{{"adam", OptimizerKind::kAdam}, {"muon", OptimizerKind::kMuon}},
         "adam, or muon: matrices by their orthogonal part, all else by Adam");
  number("--muon-momentum", o.muon.momentum, kProbability, "Muon: decay of the mean of gradients");
  number("--muon-scale", o.muon.scale, kPositive,
         "Muon: root mean square of an update, as a part of the learning rate");
  number("--muon-iterations", o.muon.iterations, NumberRange<int64_t>{.least = 1, .most = 1000},
         "Muon: of Newton and Schulz");
  number("--adam-beta1", o.adam.beta1, kProbability, "Adam: decay of the mean of gradients");
  number("--adam-beta2", o.adam.beta2, kProbability,
         "Adam: decay of the mean of squared gradients");
  number("--adam-eps", o.adam.epsilon, kPositive, "Adam: added to the root");
  number("--weight-decay", o.adam.weight_decay, kPositiveOrNone, "Decoupled weight decay");
  number("--early-stopping", o.early_stopping, kCountsOrNone,
         "Stop after so many validations without a better last metric; 0: never");
  app.add_option(
         "--valid-metrics", o.valid_metrics,
         "Of cross-entropy, perplexity, word-cross-entropy, word-perplexity, bleu, chrf and chrf++")
      ->capture_default_str()
      ->group(kGroup);
  number("--valid-beam-size", o.valid_beam_size, kBeamSizes,
         "Beam size of the metrics that translate");
  choose("--valid-tokenize", o.bleu_tokenizer, bleu_tokenizers(), "BLEU tokenizer");
  number("--seed", o.seed, kSeeds, "Of initial weights, order and dropout");
}

// A machine's cores are shared by its processes, and so are its GPUs.
void share_machine(MachineOptions& machine, const WorkerGroup& workers) {
  if (workers.size() == 1) return;
  if (machine.threads == 0) {
    const auto cores = static_cast<int64_t>(std::thread::hardware_concurrency());
    machine.threads = static_cast<int>(std::max<int64_t>(1, cores / workers.size()));
  }
  if (machine.device == "cuda") machine.device = fmt::format("cuda:{}", workers.local_rank());
}

// Trains the subwords of a new run, and writes them with the flags that it keeps.
void begin_run(const TrainOptions& o, const std::vector<std::filesystem::path>& texts,
               TrainingConsole& console) {
  const auto& subwords = o.subwords;
  const auto sample = sample_parallel(texts.at(0), texts.at(1), subwords.pairs);
  console.line(fmt::format("training {} joint subwords on {} of {} pairs",
                           subwords.training.vocab_size, sample.sentences.size() / 2,
                           sample.pairs));
  auto tokenizer = train_subwords(sample.sentences, subwords.training);
  const std::span<const std::string> both(sample.sentences);
  const auto source = both.first(both.size() / 2), target = both.last(both.size() / 2);
  if (subwords.separate_vocabs) tokenizer = tokenizer.with_separate_vocabs(source, target);
  if (subwords.restrict_vocab) tokenizer = tokenizer.with_restricted_vocab(source, target);
  tokenizer.save(o.model_dir);
  write_lasting_flags(o.model_dir, lasting_flags(o.model, subwords));
}

// The corpus as token ids in the model folder; none where the user stopped it.
std::optional<EncodedCorpus> make_corpus(const std::vector<std::filesystem::path>& texts,
                                         const std::filesystem::path& path,
                                         const SubwordTokenizer& tokenizer,
                                         const PairFilter& filter, TrainingConsole& console) {
  constexpr int64_t kPairsBetweenLines = 1'000'000;
  int64_t told = 0;
  bool stopped = false;
  const auto progress = [&](int64_t pairs) {
    if (pairs / kPairsBetweenLines > told) {
      told = pairs / kPairsBetweenLines;
      console.line(fmt::format("{} million pairs encoded", told));
    }
    return !(stopped = console.is_stop_requested());
  };
  try {
    return encode_corpus(texts.at(0), texts.at(1), tokenizer, path, filter, progress);
  } catch (const c10::Error&) {
    if (stopped) return std::nullopt;
    throw;
  }
}

std::string subwords_of(const SubwordTokenizer& tokenizer) {
  const auto size = tokenizer.vocab_size(), target = tokenizer.target_vocab_size();
  if (tokenizer.separate_vocabs()) return fmt::format("{} and {} subwords", size, target);
  return target == size ? fmt::format("{} subwords", size)
                        : fmt::format("{} subwords, {} of them in the target", size, target);
}

int run_trainer(Trainer& trainer, const TrainOptions& o, TrainingConsole& console) {
  auto callbacks = console.callbacks();
  callbacks.validation = [&, tell = callbacks.validation](const ValidationReport& report) {
    tell(report);
    detail::write_file_atomically(o.model_dir / "curves.png",
                                  line_plots_png(training_curves(o.model_dir / "metrics.jsonl")));
  };
  const auto result = trainer.run(callbacks);
  console.line(fmt::format("{} after {} updates in {}: {}",
                           result.interrupted ? "interrupted" : "finished", result.updates,
                           clock_time(result.elapsed), o.model_dir.string()));
  return EXIT_SUCCESS;
}

int train(TrainOptions& o) {
  const auto workers = WorkerGroup::from_environment(std::chrono::seconds(o.worker_timeout));
  share_machine(o.machine, workers);
  const auto device = prepare_machine(o.machine);
  TrainingConsole console(o.quiet || !workers.is_first());
  if (o.trainer.precision == Precision::kBFloat16 &&
      !functional::has_fast_products(torch::kBFloat16, device)) {
    console.line(
        "--precision bf16: this processor has no products of bfloat16, fp32 is faster on it");
  }
  o.trainer.validate();
  // Only the first process reads texts, and writes.
  const bool first = workers.is_first();
  if (first) check_texts(o.train_sets);
  const auto valid = o.valid_sets.empty() || !first
                         ? ParallelText{}
                         : read_parallel(o.valid_sets.at(0), o.valid_sets.at(1));
  std::optional<FolderLock> lock;
  if (first) lock.emplace(o.model_dir);

  const bool resume = o.trainer.reload && has_snapshot(o.model_dir);
  TORCH_CHECK_VALUE(
      resume || o.trainer.bpe_dropout == 0 || o.subwords.training.model == SubwordModel::kBpe,
      "--bpe-dropout: expected --subword-model bpe, got unigram");
  if (resume && first) check_lasting_flags(o.model_dir, lasting_flags(o.model, o.subwords));
  workers.barrier();  // nobody writes before all have looked

  // A run that goes on reads its texts once.
  std::optional<RereadableTexts> copies;
  auto texts = o.train_sets;
  if (!resume && first) {
    copies.emplace(
        texts, o.model_dir, [&](const std::string& text) { console.line(text); },
        [&] { return console.is_stop_requested(); });
    texts = copies->paths();
  }
  const auto stop = [&] {
    console.line("interrupted before training: the same command starts again");
    return EXIT_SUCCESS;
  };
  if (first && console.is_stop_requested()) return stop();  // a copy may have been cut short
  if (!resume && first) begin_run(o, texts, console);
  workers.barrier();
  const auto tokenizer = SubwordTokenizer::load(o.model_dir);
  torch::manual_seed(o.trainer.seed);
  auto model = make_model(o.model, tokenizer);
  int64_t parameters = 0;
  for (const auto& parameter : model->module().parameters()) parameters += parameter.numel();
  if (!resume && first) save_model(o.model_dir, *model);

  const auto tokens = o.model_dir / "training-tokens.bin";
  std::optional<EncodedCorpus> corpus;
  if (first) {
    corpus = make_corpus(texts, tokens, tokenizer, filter_for(*model, o.trainer), console);
    if (!corpus) return stop();
  }
  workers.barrier();
  if (!first) corpus = EncodedCorpus{TokenFile(tokens), {}};
  copies.reset();
  console.line(
      fmt::format("{} training pairs, {} validation pairs", corpus->file.size(), valid.size()));
  console.line(fmt::format(
      "{}, {} parameters, {} CPU threads{}", subwords_of(tokenizer), parameters,
      torch::get_num_threads(),
      workers.size() > 1 ? fmt::format(" in each of {} processes", workers.size()) : ""));

  Trainer trainer(model, tokenizer, *corpus, valid, o.model_dir, o.trainer, device, workers);
  return run_trainer(trainer, o, console);
}

}  // namespace

Command add_train(CLI::App& app) {
  auto options = std::make_shared<TrainOptions>();
  auto& o = *options;
  app.add_option("-m,--model-dir", o.model_dir, "Folder to train into")->required();
  app.add_option("-t,--train-sets", o.train_sets, "Source and target text, a sentence a line")
      ->expected(2)
      ->required();
  app.add_option("--valid-sets", o.valid_sets, "The same for validation")->expected(2);
  add_model_choice(app, o.model);
  // The fewest are </s>, <unk>, <pad> and one character.
  add_number(app, "--vocab-size", o.subwords.training.vocab_size, {.least = 4, .most = 10'000'000},
             "Joint subwords, special tokens counted");
  add_choice(
      app, "--subword-model", o.subwords.training.model,
      Choices<SubwordModel>{{"unigram", SubwordModel::kUnigram}, {"bpe", SubwordModel::kBpe}},
      "How subwords are chosen");
  app.add_flag("!--subword-mix-scripts", o.subwords.training.split_by_unicode_script,
               "Letters and marks in one piece, for text in words already (&apos;)");
  auto* separate = app.add_flag(
      "--separate-vocabs", o.subwords.separate_vocabs,
      "A vocabulary for each side, of the joint subwords in its text: a smaller output layer");
  app.add_flag("--restrict-vocab", o.subwords.restrict_vocab,
               "One vocabulary, of the joint subwords in the texts, and an output layer of the "
               "target's: smaller, with one table of embeddings for both sides")
      ->excludes(separate);
  add_number(app, "--subword-pairs", o.subwords.pairs, {.least = 1, .most = 1'000'000'000},
             "Pairs, spread over the corpus, that subwords are trained on");
  add_trainer_options(app, o.trainer);
  add_number(app, "--worker-timeout", o.worker_timeout, {.least = 1, .most = 1'000'000'000},
             "Seconds that processes started by torchrun wait for each other");
  app.add_flag("!--no-reload", o.trainer.reload, "Start again even if the folder has a snapshot");
  add_machine_options(app, o.machine);
  app.add_flag("-q,--quiet", o.quiet, "No log on standard error");
  return [options] { return train(*options); };
}

}  // namespace attend::app
