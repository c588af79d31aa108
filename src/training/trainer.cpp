#include "attend/training/trainer.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>

#include "attend/checkpoint/model_folder.h"
#include "attend/file_error.h"
#include "attend/functional/dropout.h"
#include "attend/training/batch_threads.h"
#include "attend/translation/tokenizer_fit.h"
#include "detail/atomic_file.h"
#include "detail/check.h"
#include "training/autocast_scope.h"
#include "training/batch_loader.h"
#include "training/checkpoint_average.h"
#include "training/metrics_log.h"
#include "training/model_identity.h"
#include "training/scorer.h"
#include "training/snapshot.h"
#include "training/weight_average.h"

namespace attend {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr auto kTrainer = "Trainer";
constexpr auto kSnapshot = "training.safetensors";
constexpr auto kMetrics = "metrics.jsonl";
constexpr auto kCheckpoints = "checkpoints";

// Threads that compute the gradients of a process, each of a share of its batch.
int64_t batch_shares(const TrainerOptions& options, torch::Device device, int64_t processes) {
  constexpr int64_t kLeastTokens = 512;
  // The gradients of several processes are sent while the backward pass goes on, in one thread.
  if (!device.is_cpu() || processes > 1) return 1;
  if (options.batch_shares > 0) return options.batch_shares;
  return std::clamp<int64_t>(options.batch_tokens / kLeastTokens, 1, torch::get_num_threads());
}

std::unique_ptr<Optimizer> make_optimizer(const torch::nn::Module& module,
                                          const TrainerOptions& options) {
  if (options.optimizer == OptimizerKind::kMuon) {
    return std::make_unique<Muon>(module, options.muon, options.adam);
  }
  return std::make_unique<Adam>(module, options.adam);
}

// None where subwords stay as they are.
std::optional<detail::PairCutter> make_cutter(const SubwordTokenizer& tokenizer,
                                              const PairFilter& filter,
                                              const TrainerOptions& options) {
  if (options.bpe_dropout == 0) return std::nullopt;
  return detail::PairCutter{BpeDropout(tokenizer, options.bpe_dropout), filter.max_length};
}

void check_pair(const TranslationModel* model, const SubwordTokenizer& tokenizer) {
  TORCH_CHECK_VALUE(model != nullptr, kTrainer, ": expected a model, got none");
  const auto mismatch = tokenizer_mismatch(*model, tokenizer);
  TORCH_CHECK_VALUE(!mismatch, kTrainer, ": ", mismatch.value_or(""));
}

// One seed for each update of each process or thread, so that nothing else decides its random numbers.
// Source: the finaliser of SplitMix64, Steele et al., 2014, doi:10.1145/2660193.2660195.
uint64_t seed_of(uint64_t seed, int64_t update, int64_t worker) {
  uint64_t z = seed;
  for (const auto value : {static_cast<uint64_t>(update), static_cast<uint64_t>(worker)}) {
    z += value + 0x9E3779B97F4A7C15ULL;
    z = (z ^ (z >> 30U)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27U)) * 0x94D049BB133111EBULL;
    z ^= z >> 31U;
  }
  return z;
}

}  // namespace

void TrainerOptions::validate() const {
  for (const auto& duration : {after, valid_freq, disp_freq}) {
    TORCH_CHECK_VALUE(duration.amount > 0, "TrainerOptions: expected durations > 0, got ",
                      duration.amount);
  }
  filter.validate();
  detail::check_positive("TrainerOptions", "batch_tokens", batch_tokens);
  detail::check_positive("TrainerOptions", "shuffle_pairs", shuffle_pairs);
  detail::check_positive("TrainerOptions", "valid_beam_size", valid_beam_size);
  detail::check_positive("TrainerOptions", "max_bad_updates", max_bad_updates);
  detail::check_probability("TrainerOptions", "label_smoothing", label_smoothing);
  detail::check_probability("TrainerOptions", "bpe_dropout", bpe_dropout);
  detail::check_probability("TrainerOptions", "exponential_smoothing", exponential_smoothing);
  TORCH_CHECK_VALUE(clip_norm >= 0, "TrainerOptions: expected clip_norm >= 0, got ", clip_norm);
  TORCH_CHECK_VALUE(early_stopping >= 0, "TrainerOptions: expected early_stopping >= 0, got ",
                    early_stopping);
  TORCH_CHECK_VALUE(average_checkpoints >= 0,
                    "TrainerOptions: expected average_checkpoints >= 0, got ", average_checkpoints);
  TORCH_CHECK_VALUE(batch_shares >= 0, "TrainerOptions: expected batch_shares >= 0, got ",
                    batch_shares);
  for (const auto& metric : valid_metrics) {
    TORCH_CHECK_VALUE(detail::is_metric(metric), "TrainerOptions: expected valid_metrics of ",
                      detail::metric_names(), ", got ", metric);
  }
  schedule.validate();
}

PairFilter filter_for(const TranslationModel& model, const TrainerOptions& options) {
  auto filter = options.filter;
  // A target is read with its start token and without `</s>`, a source with `</s>`.
  filter.max_length = std::min(filter.max_length, model.max_target_length() - 1);
  return filter;
}

class Trainer::Run {
 public:
  Run(std::shared_ptr<TranslationModel> model, SubwordTokenizer tokenizer, detail::PairPools train,
      const FilterCounts& counts, const ParallelText& valid, fs::path folder,
      const TrainerOptions& options, torch::Device device, const WorkerGroup& workers);

  TrainingResult run(const TrainerCallbacks& callbacks);
  bool resumed() const { return resumed_; }

 private:
  // Everything that a resumed run must know besides tensors.
  struct Counters {
    int64_t update = 0;         // done
    detail::CorpusPosition at;  // of the next batch
    double epochs = 0;          // done
    int64_t sentences = 0;      // of this epoch
    double elapsed = 0;         // seconds before this process started
    std::map<std::string, double> best;
  };
  // Sums since the last report; they stay on the device until it is due.
  struct Sums {
    torch::Tensor loss, norm, targets, skipped;  // float64 but for the norm
    int64_t updates = 0, tokens = 0;
    Clock::time_point since = Clock::now();
  };

  double elapsed() const;
  double amount_done(Duration::Unit unit) const;
  double progress() const;
  bool is_due(const Duration& every, double before) const;
  bool agree(const TrainerCallbacks& callbacks);
  torch::Tensor backward(const detail::BatchShare& share);
  void update(const detail::BatchShare& share);
  void check_finite(const detail::BatchShare& share) const;
  TrainingReport make_report() const;
  TrainingReport full_report();
  ValidationReport validate();
  ValidationReport make_validation_report();
  void save_folder(const fs::path& folder);
  void save_averaged_folder();
  void finish_with_mean(std::vector<ValidationReport>& reports);
  void save_snapshot() const;
  void load_snapshot();
  json identity() const;

  std::shared_ptr<TranslationModel> model_;
  SubwordTokenizer tokenizer_;
  fs::path folder_;
  TrainerOptions options_;
  torch::Device device_;
  WorkerGroup workers_;
  FilterCounts counts_;
  PairFilter filter_;
  detail::BatchLoader loader_;
  detail::Scorer scorer_;
  std::unique_ptr<Optimizer> optimizer_;
  std::optional<GradientReducer> reducer_;
  std::optional<BatchThreads> threads_;
  std::optional<detail::WeightAverage> average_;
  std::optional<detail::CheckpointAverage> checkpoints_;
  Counters counters_;
  Sums sums_;
  torch::Tensor bad_in_a_row_;
  torch::Tensor stalled_ = torch::zeros({}, torch::kLong);  // validations without a better score
  uint64_t epoch_ = 0;                                      // of the last update
  double rate_ = 0;
  double now_ = 0;  // seconds of training, as all processes agree
  bool resumed_ = false;
  Clock::time_point started_ = Clock::now();
};

Trainer::Run::Run(std::shared_ptr<TranslationModel> model, SubwordTokenizer tokenizer,
                  detail::PairPools train, const FilterCounts& counts, const ParallelText& valid,
                  fs::path folder, const TrainerOptions& options, torch::Device device,
                  const WorkerGroup& workers)
    : model_((model->module().to(device), std::move(model))),
      tokenizer_(std::move(tokenizer)),
      folder_(std::move(folder)),
      options_((options.validate(), options)),
      device_(device),
      workers_(workers),
      counts_(counts),
      filter_(filter_for(*model_, options)),
      loader_(std::move(train), model_->special_tokens(), options.batch_tokens, options.seed,
              workers.rank(), workers.size(), batch_shares(options, device, workers.size()),
              !device.is_cpu()),
      scorer_(model_, tokenizer_, valid, options, device),
      optimizer_(make_optimizer(model_->module(), options)) {
  TORCH_CHECK(loader_.pools().size() > 0, kTrainer, ": expected training pairs of 1 to ",
              filter_.max_length, " tokens a side, got none (", counts_.left_out(), " left out)");
  if (options_.exponential_smoothing > 0) {
    average_.emplace(model_->module(), options_.exponential_smoothing);
  }
  if (workers_.is_first()) {
    std::error_code failed;
    fs::create_directories(folder_, failed);
    if (failed) throw FileError(folder_, "cannot make the folder: " + failed.message());
    detail::remove_leftovers(folder_);
    if (options_.average_checkpoints > 0) {
      checkpoints_.emplace(folder_ / kCheckpoints, options_.average_checkpoints);
    }
  }
  if (options_.reload && has_snapshot(folder_)) {
    load_snapshot();
  } else if (workers_.is_first()) {
    std::error_code ignored;  // opening it says it better
    fs::remove(folder_ / kMetrics, ignored);
  }
  const auto shares = batch_shares(options_, device_, workers_.size());
  if (shares > 1) {
    threads_.emplace(model_->module(), shares,
                     std::max<int64_t>(1, torch::get_num_threads() / shares));
  } else {
    reducer_.emplace(workers_, model_->module());
  }
  workers_.barrier();  // nobody writes before all have read
}

double Trainer::Run::elapsed() const {
  return counters_.elapsed + std::chrono::duration<double>(Clock::now() - started_).count();
}

double Trainer::Run::amount_done(Duration::Unit unit) const {
  constexpr double kSeconds = 60.0;
  switch (unit) {
    case Duration::Unit::kEpochs:
      return counters_.epochs;
    case Duration::Unit::kUpdates:
      return static_cast<double>(counters_.update);
    case Duration::Unit::kMinutes:
      return now_ / kSeconds;
  }
  TORCH_INTERNAL_ASSERT(false, "unit");
}

double Trainer::Run::progress() const {
  return std::min(1.0, amount_done(options_.after.unit) / options_.after.amount);
}

// Whether a multiple of `every` lies between what was done before and what is done now.
bool Trainer::Run::is_due(const Duration& every, double before) const {
  constexpr double kRounding = 1e-9;
  const auto count = [&](double done) { return std::floor(done / every.amount + kRounding); };
  return count(amount_done(every.unit)) > count(before);
}

// Whether any process is asked to stop; and all take the first one's time.
bool Trainer::Run::agree(const TrainerCallbacks& callbacks) {
  const bool stop = callbacks.stop_requested && callbacks.stop_requested();
  if (workers_.size() == 1) {
    now_ = elapsed();
    return stop;
  }
  auto said =
      torch::tensor({workers_.is_first() ? elapsed() : 0.0, stop ? 1.0 : 0.0}, torch::kDouble);
  workers_.max(said);
  now_ = said[0].item<double>();
  return said[1].item<double>() > 0;
}

// The gradients of the batch's mean loss a target token; returns the sum of this share.
torch::Tensor Trainer::Run::backward(const detail::BatchShare& share) {
  const auto tokens = static_cast<double>(share.target_tokens);
  const auto mean_loss = [&](const Batch& batch) {
    const auto move = [&](const torch::Tensor& t) { return t.to(device_, /*non_blocking=*/true); };
    const detail::AutocastScope scope(options_.precision, device_.type());
    return model_->loss_sum(move(batch.source), move(batch.target_input), move(batch.target),
                            options_.label_smoothing) /
           tokens;
  };
  const auto seed = [&](int64_t worker) {
    return seed_of(options_.seed, counters_.update, worker);
  };
  if (threads_) {
    return tokens * threads_->backward([&](int64_t part) {
      if (part >= static_cast<int64_t>(share.batches.size())) return torch::Tensor();
      const functional::DropoutSeed own_random_numbers(seed(part));
      return mean_loss(share.batches[static_cast<size_t>(part)]);
    });
  }
  torch::manual_seed(seed(workers_.rank()));
  auto loss = mean_loss(share.batches.front());
  if (!share.counts) loss = loss * 0.0;
  reducer_->backward(loss);
  return tokens * loss.detach();
}

void Trainer::Run::update(const detail::BatchShare& share) {
  optimizer_->zero_grad();
  const auto loss = backward(share);
  const auto norm = optimizer_->clip_gradients(options_.clip_norm);
  rate_ = options_.schedule.rate(counters_.update + 1, progress());
  // What is not finite is left out on the device, without waiting for it. Of several processes only
  // the norm is the same.
  auto is_finite = norm.isfinite();
  if (workers_.size() == 1) is_finite = is_finite.logical_and(loss.isfinite());
  const auto skipped = is_finite.logical_not().to(torch::kFloat);
  optimizer_->step(rate_, skipped);
  if (average_) average_->update(counters_.update + 1);

  const auto add = [](torch::Tensor& sum, const torch::Tensor& next) {
    sum = sum.defined() ? sum + next : next;
  };
  const auto if_finite = [&](const torch::Tensor& value) {
    return torch::where(is_finite, value.to(torch::kDouble), 0.0);
  };
  add(sums_.loss, if_finite(loss));
  add(sums_.norm, if_finite(norm));
  int64_t target_tokens = 0;
  if (share.counts) {
    for (const auto& batch : share.batches) target_tokens += batch.target_tokens;
  }
  add(sums_.targets, is_finite.to(torch::kDouble) * static_cast<double>(target_tokens));
  add(sums_.skipped, skipped);
  bad_in_a_row_ = bad_in_a_row_.defined() ? (bad_in_a_row_ + skipped) * skipped : skipped;
  ++sums_.updates;
  sums_.tokens += share.tokens;
}

void Trainer::Run::check_finite(const detail::BatchShare& share) const {
  if (bad_in_a_row_.item<double>() < static_cast<double>(options_.max_bad_updates)) return;
  const auto& pair = share.sample.front();
  TORCH_CHECK(false, kTrainer, ": expected a finite loss and gradient, got none in ",
              options_.max_bad_updates, " updates in a row; the last was update ", counters_.update,
              ", batch ", share.at.batch + 1, " of epoch ", share.at.epoch + 1,
              ", whose first pair of ", share.pairs, " has the target \"",
              tokenizer_.decode_target(pair.target),
              "\". The folder's snapshot is from before; try a lower learning rate");
}

TrainingReport Trainer::Run::make_report() const {
  TrainingReport report;
  report.epoch = static_cast<int64_t>(epoch_) + 1;
  report.update = counters_.update;
  report.sentences = counters_.sentences;
  report.learning_rate = rate_;
  report.progress = progress();
  report.elapsed = now_;
  report.time_left = report.progress > 0 ? report.elapsed / report.progress - report.elapsed : 0;
  if (sums_.updates > 0) {
    const double seconds = std::chrono::duration<double>(Clock::now() - sums_.since).count();
    report.tokens_per_second = static_cast<double>(sums_.tokens) / std::max(seconds, 1e-9);
  }
  return report;
}

// With what the processes know together.
TrainingReport Trainer::Run::full_report() {
  auto report = make_report();
  // One copy, since the host waits for each.
  const auto all = torch::stack({sums_.loss, sums_.targets, sums_.skipped.to(torch::kDouble),
                                 sums_.norm.to(torch::kDouble)})
                       .cpu();
  auto of_processes = all.narrow(0, 0, 2);
  workers_.sum(of_processes);
  report.cost = all[0].item<double>() / std::max(all[1].item<double>(), 1.0);
  report.skipped = static_cast<int64_t>(all[2].item<double>());
  report.gradient_norm = all[3].item<double>() /
                         static_cast<double>(std::max<int64_t>(sums_.updates - report.skipped, 1));
  return report;
}

ValidationReport Trainer::Run::make_validation_report() {
  ValidationReport report;
  report.epoch = static_cast<int64_t>(epoch_) + 1;
  report.update = counters_.update;
  report.scores = scorer_.scores();
  for (const auto& [metric, score] : report.scores) {
    const auto best = counters_.best.find(metric);
    if (best == counters_.best.end() || detail::is_better(metric, score, best->second)) {
      counters_.best[metric] = score;
      report.improved.push_back(metric);
    }
  }
  save_folder(folder_);
  for (const auto& metric : report.improved) save_folder(folder_ / ("best-" + metric));
  report.elapsed = elapsed();
  return report;
}

ValidationReport Trainer::Run::validate() {
  if (average_) average_->swap();
  auto report = make_validation_report();
  if (checkpoints_) checkpoints_->keep(counters_.update, detail::weights_of(model_->module()));
  if (average_) average_->swap();
  const bool better =
      std::ranges::find(report.improved, options_.valid_metrics.back()) != report.improved.end();
  stalled_ = better ? torch::zeros_like(stalled_) : stalled_ + 1;
  return report;
}

void Trainer::Run::save_folder(const fs::path& folder) {
  save_model(folder, *model_);
  tokenizer_.save(folder);
}

void Trainer::Run::save_averaged_folder() {
  if (average_) average_->swap();
  save_folder(folder_);
  if (checkpoints_) checkpoints_->keep(counters_.update, detail::weights_of(model_->module()));
  if (average_) average_->swap();
}

// The folder's model becomes the mean of the last checkpoints; ours stays, should the run be made
// longer.
void Trainer::Run::finish_with_mean(std::vector<ValidationReport>& reports) {
  const auto own = detail::weights_of(model_->module());
  detail::TensorMap kept;
  for (const auto& [name, tensor] : own) kept[name] = tensor.clone();
  detail::copy_weights(folder_ / kCheckpoints, checkpoints_->mean(), own);
  if (scorer_.can_score()) {
    reports.push_back(make_validation_report());
    reports.back().of_mean = true;
  } else {
    save_folder(folder_);
  }
  detail::copy_weights(folder_ / kCheckpoints, kept, own);
}

json Trainer::Run::identity() const {
  json identity{{"corpus", loader_.pools().fingerprint()},
                {"seed", options_.seed},
                {"batch_tokens", options_.batch_tokens},
                {"bpe_dropout", options_.bpe_dropout},
                {"exponential_smoothing", options_.exponential_smoothing},
                {"optimizer", options_.optimizer == OptimizerKind::kMuon ? "muon" : "adam"},
                {"number of pools", loader_.pools().pools()},
                {"model", detail::model_identity(*model_)}};
  // A side that dropout makes longer than that stays as it was.
  if (options_.bpe_dropout > 0) identity["max_length"] = filter_.max_length;
  return identity;
}

void Trainer::Run::save_snapshot() const {
  const auto& c = counters_;
  detail::Snapshot snapshot;
  snapshot.identity = identity();
  snapshot.state = {{"update", c.update},   {"epoch", c.at.epoch},
                    {"pool", c.at.pool},    {"batch", c.at.batch},
                    {"epochs", c.epochs},   {"sentences", c.sentences},
                    {"elapsed", elapsed()}, {"stalled", stalled_.item<int64_t>()},
                    {"best", c.best}};
  snapshot.weights = detail::weights_of(model_->module());
  snapshot.optimizer = optimizer_->state();
  if (average_) snapshot.average = average_->state();
  write_snapshot(folder_ / kSnapshot, snapshot);
}

void Trainer::Run::load_snapshot() {
  const auto path = folder_ / kSnapshot;
  const auto snapshot = detail::read_snapshot(path, identity());
  auto& c = counters_;
  try {
    const auto& state = snapshot.state;
    c.update = state.at("update");
    c.at = {state.at("epoch"), state.at("pool"), state.at("batch")};
    c.epochs = state.at("epochs");
    c.sentences = state.at("sentences");
    c.elapsed = state.at("elapsed");
    stalled_.fill_(state.at("stalled").get<int64_t>());
    c.best = state.at("best").get<std::map<std::string, double>>();
  } catch (const json::exception& error) {
    throw FileError(path, fmt::format("expected a training snapshot, got {}", error.what()));
  }
  detail::copy_weights(path, snapshot.weights, detail::weights_of(model_->module()));
  optimizer_->load_state(snapshot.optimizer);
  if (average_) average_->load_state(snapshot.average);
  epoch_ = c.at.epoch;
  now_ = c.elapsed;
  resumed_ = true;
}

TrainingResult Trainer::Run::run(const TrainerCallbacks& all_callbacks) {
  const bool first = workers_.is_first();
  TrainerCallbacks callbacks;
  callbacks.stop_requested = all_callbacks.stop_requested;
  if (first) callbacks = all_callbacks;
  std::optional<detail::MetricsLog> log;
  if (first) log.emplace(folder_ / kMetrics, counters_.update);
  started_ = Clock::now();
  now_ = counters_.elapsed;
  sums_ = {};
  if (callbacks.note) {
    if (counts_.left_out() > 0) callbacks.note(counts_.left_out_text(filter_));
    if (resumed_) callbacks.note(fmt::format("resumed after update {}", counters_.update));
  }
  TrainingResult result;
  // Everything is written before anyone is told.
  const auto save = [&](bool is_last) {
    const auto start = Clock::now();
    std::vector<ValidationReport> reports;
    if (first) {
      if (scorer_.can_score()) reports.push_back(validate());
      if (!scorer_.can_score()) save_averaged_folder();
      if (is_last && checkpoints_) finish_with_mean(reports);
      for (const auto& report : reports) log->write(report);
      save_snapshot();
    }
    workers_.broadcast({stalled_});
    for (auto& report : reports) {
      if (callbacks.validation) callbacks.validation(report);
      result.last = std::move(report);
    }
    sums_.since += Clock::now() - start;  // speed is that of training
  };

  model_->module().train();
  loader_.seek(counters_.at);
  bool finished = progress() >= 1.0;
  while (!finished && !result.interrupted) {
    const auto share = loader_.next();
    const double before_report = amount_done(options_.disp_freq.unit);
    const double before_validation = amount_done(options_.valid_freq.unit);
    update(share);
    ++counters_.update;
    counters_.at = share.after;
    counters_.epochs = share.epochs_done;
    const bool is_new_epoch = share.at.pool == 0 && share.at.batch == 0;
    counters_.sentences = (is_new_epoch ? 0 : counters_.sentences) + share.pairs;
    epoch_ = share.at.epoch;
    const bool stop = agree(callbacks);
    finished = progress() >= 1.0;

    const bool reports = is_due(options_.disp_freq, before_report) || finished;
    if (reports || device_.is_cpu()) check_finite(share);
    if (callbacks.progress) callbacks.progress(make_report());
    if (reports) {
      const auto report = full_report();
      if (first) log->write(report);
      if (callbacks.report) callbacks.report(report);
      sums_ = {};
    }
    if (is_due(options_.valid_freq, before_validation) || finished) save(finished);
    const bool patience_lost =
        options_.early_stopping > 0 && stalled_.item<int64_t>() >= options_.early_stopping;
    if (patience_lost && !finished) {
      if (callbacks.note) {
        callbacks.note(fmt::format("stopped early: no better {} in {} validations",
                                   options_.valid_metrics.back(), stalled_.item<int64_t>()));
      }
      finished = true;
    }
    if (!finished && stop) {
      if (first) {
        save_averaged_folder();
        save_snapshot();
      }
      workers_.barrier();
      result.interrupted = true;
    }
  }
  model_->module().eval();
  result.updates = counters_.update;
  result.elapsed = elapsed();
  return result;
}

Trainer::Trainer(std::shared_ptr<TranslationModel> model, SubwordTokenizer tokenizer,
                 const ParallelText& train, const ParallelText& valid, std::filesystem::path folder,
                 const TrainerOptions& options, torch::Device device, const WorkerGroup& workers) {
  check_pair(model.get(), tokenizer);
  options.validate();
  FilterCounts counts;
  const auto filter = filter_for(*model, options);
  detail::PairPools pools(encode_pairs(train, tokenizer, filter, counts),
                          make_cutter(tokenizer, filter, options));
  run_ = std::make_unique<Run>(std::move(model), std::move(tokenizer), std::move(pools), counts,
                               valid, std::move(folder), options, device, workers);
}

Trainer::Trainer(std::shared_ptr<TranslationModel> model, SubwordTokenizer tokenizer,
                 const EncodedCorpus& train, const ParallelText& valid,
                 std::filesystem::path folder, const TrainerOptions& options, torch::Device device,
                 const WorkerGroup& workers) {
  check_pair(model.get(), tokenizer);
  options.validate();
  detail::PairPools pools(train.file, options.shuffle_pairs,
                          make_cutter(tokenizer, filter_for(*model, options), options));
  run_ = std::make_unique<Run>(std::move(model), std::move(tokenizer), std::move(pools),
                               train.counts, valid, std::move(folder), options, device, workers);
}

Trainer::~Trainer() = default;

TrainingResult Trainer::run(const TrainerCallbacks& callbacks) { return run_->run(callbacks); }

bool Trainer::resumed() const { return run_->resumed(); }

bool has_snapshot(const fs::path& folder) { return fs::exists(folder / kSnapshot); }

}  // namespace attend
