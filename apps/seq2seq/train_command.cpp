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
#include "attend/translation/lexicon.h"
#include "begun_run.h"
#include "commands.h"
#include "common/console.h"
#include "curves.h"
#include "detail/atomic_file.h"
#include "rereadable_texts.h"
#include "train_flags.h"

namespace attend::app {
namespace {

// Divides a machine's cores, and its GPUs, among its processes.
void share_machine(MachineOptions& machine, const WorkerGroup& workers) {
  if (workers.size() == 1) return;
  if (machine.threads == 0) {
    const auto cores = static_cast<int64_t>(std::thread::hardware_concurrency());
    machine.threads = static_cast<int>(std::max<int64_t>(1, cores / workers.size()));
  }
  if (machine.device == "cuda") machine.device = fmt::format("cuda:{}", workers.local_rank());
}

// Trains the tokenizer of a new run, and saves it together with the run's lasting flags.
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
  std::filesystem::remove(o.model_dir / kLexiconFile);  // of another vocabulary
  write_lasting_flags(o.model_dir, lasting_flags(o.model, subwords));
}

// Encodes the corpus into the model folder; nullopt if the user interrupted it.
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

// Warns if the precision is slower than float32 on this machine.
void warn_of_precision(Precision precision, torch::Device device, TrainingConsole& console) {
  if (precision == Precision::kBFloat16 &&
      !functional::has_fast_products(torch::kBFloat16, device)) {
    console.line(
        "--precision bf16: this processor has no fast products of bfloat16, fp32 is faster on it");
  }
}

// Whether to resume from a snapshot. Throws if the flags do not fit the saved run.
bool check_resume(const TrainOptions& o, bool first) {
  const bool resume = o.trainer.reload && has_snapshot(o.model_dir);
  TORCH_CHECK_VALUE(
      resume || o.trainer.bpe_dropout == 0 || o.subwords.training.model == SubwordModel::kBpe,
      "--bpe-dropout: expected --subword-model bpe, got unigram");
  if (resume && first) check_lasting_flags(o.model_dir, lasting_flags(o.model, o.subwords));
  return resume;
}

void describe_run(TrainingConsole& console, int64_t pairs, int64_t valid_pairs,
                  const SubwordTokenizer& tokenizer, const torch::nn::Module& model,
                  int64_t processes) {
  int64_t parameters = 0;
  for (const auto& parameter : model.parameters()) parameters += parameter.numel();
  console.line(fmt::format("{} training pairs, {} validation pairs", pairs, valid_pairs));
  console.line(
      fmt::format("{}, {} parameters, {} CPU threads{}", subwords_of(tokenizer), parameters,
                  torch::get_num_threads(),
                  processes > 1 ? fmt::format(" in each of {} processes", processes) : ""));
}

// Learns the lexicon of a finished run, and saves it beside each of its models.
void make_shortlist(const TokenFile& corpus, const SubwordTokenizer& tokenizer,
                    const std::filesystem::path& folder, TrainingConsole& console) {
  const auto lexicon = learn_lexicon(corpus);
  save_lexicon(folder / kLexiconFile, lexicon, tokenizer);
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const bool is_model = entry.is_directory() &&
                          entry.path().filename().string().starts_with("best-") &&
                          std::filesystem::exists(entry.path() / "config.json");
    if (is_model) save_lexicon(entry.path() / kLexiconFile, lexicon, tokenizer);
  }
  console.line(fmt::format("shortlist: {}", (folder / kLexiconFile).string()));
}

// Returns whether training has finished.
bool run_trainer(Trainer& trainer, const TrainOptions& o, TrainingConsole& console) {
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
  return !result.interrupted;
}

int train(TrainOptions& o) {
  const auto workers = WorkerGroup::from_environment(std::chrono::seconds(o.worker_timeout));
  share_machine(o.machine, workers);
  const auto device = prepare_machine(o.machine);
  TrainingConsole console(/*quiet=*/!workers.is_first());
  warn_of_precision(o.trainer.precision, device, console);
  o.trainer.validate();
  // Only the first process reads texts and writes files.
  const bool first = workers.is_first();
  if (first) check_texts(o.train_sets);
  const auto valid = o.valid_sets.empty() || !first
                         ? ParallelText{}
                         : read_parallel(o.valid_sets.at(0), o.valid_sets.at(1));
  std::optional<FolderLock> lock;
  if (first) lock.emplace(o.model_dir);
  const bool resume = check_resume(o, first);
  workers.barrier();  // no process writes before all have checked the folder

  // A resumed run reads its texts only once; a new one reads them for its tokenizer as well.
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
  describe_run(console, static_cast<int64_t>(corpus->file.size()),
               static_cast<int64_t>(valid.size()), tokenizer, model->module(), workers.size());
  Trainer trainer(model, tokenizer, *corpus, valid, o.model_dir, o.trainer, device, workers);
  const bool is_finished = run_trainer(trainer, o, console);
  if (is_finished && first && o.shortlist) {
    make_shortlist(corpus->file, tokenizer, o.model_dir, console);
  }
  return EXIT_SUCCESS;
}

}  // namespace

Command add_train(CLI::App& app) {
  auto options = std::make_shared<TrainOptions>();
  add_train_flags(app, *options);
  return [options] { return train(*options); };
}

}  // namespace attend::app
