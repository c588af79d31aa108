#include "attend/training/training_loop.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "attend/file_error.h"
#include "training/batch_gradients.h"
#include "training/batch_loader.h"
#include "training/generator_scope.h"
#include "training/run_folder.h"
#include "training/snapshot.h"
#include "training/training_clock.h"
#include "training/update_sums.h"
#include "training/weight_average.h"

namespace attend {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

constexpr auto kLoop = "TrainingLoop";

std::unique_ptr<Optimizer> make_optimizer(const torch::nn::Module& module,
                                          const TrainingOptions& options) {
  if (options.optimizer == OptimizerKind::kMuon) {
    return std::make_unique<Muon>(module, options.muon, options.adam);
  }
  return std::make_unique<Adam>(module, options.adam);
}

}  // namespace

// The loop itself: it decides what happens when. Weights change here and nowhere else; files are its
// folder's, time is its clock's.
class TrainingLoop::Run {
 public:
  Run(TrainingTask& task, const TrainingOptions& options, const fs::path& folder,
      torch::Device device, const WorkerGroup& workers);

  TrainingResult run(const TrainingCallbacks& callbacks);
  bool resumed() const { return resumed_; }

 private:
  void begin();
  void update(const detail::BatchShare& share);
  bool agree(const detail::BatchShare& share);
  void check_finite(const detail::BatchShare& share);
  TrainingReport make_report() const;
  void report(bool is_due);
  ValidationReport score_and_save();
  ValidationReport validate();
  void save_unscored();
  void finish_with_mean(std::vector<ValidationReport>& reports);
  void save(bool is_last);
  bool has_lost_patience() const;
  void note(const std::string& text) const;
  json identity() const;
  void write_snapshot() const;
  void read_snapshot(const fs::path& path);

  TrainingTask& task_;
  bool in_memory_;  // without a folder
  TrainingOptions options_;
  torch::Device device_;
  WorkerGroup workers_;
  detail::BatchLoader loader_;
  std::unique_ptr<Optimizer> optimizer_;
  std::optional<detail::WeightAverage> average_;
  std::optional<detail::RunFolder> folder_;  // of the process that writes
  std::optional<detail::BatchGradients> gradients_;
  detail::TrainingClock clock_;
  detail::TrainingState state_;  // but for what the clock knows
  detail::UpdateSums sums_;
  torch::Tensor bad_in_a_row_;  // on the device
  uint64_t epoch_ = 0;          // of the last update
  double rate_ = 0;
  bool resumed_ = false;
  TrainingCallbacks callbacks_;
  TrainingResult result_;
};

TrainingLoop::Run::Run(TrainingTask& task, const TrainingOptions& options, const fs::path& folder,
                       torch::Device device, const WorkerGroup& workers)
    : task_((task.module().to(device), task)),
      in_memory_(folder.empty()),
      options_((options.validate(), options)),
      device_(device),
      workers_(workers),
      loader_(task, workers.rank(), workers.size(),
              detail::batch_parts(task, options, device, workers.size()), !device.is_cpu()),
      optimizer_(make_optimizer(task.module(), options)),
      clock_(options.after) {
  TORCH_CHECK_VALUE(options.average_checkpoints == 0 || !in_memory_, kLoop,
                    ": expected a folder for average_checkpoints, got none");
  if (options_.exponential_smoothing > 0) {
    average_.emplace(task_.module(), options_.exponential_smoothing);
  }
  if (workers_.is_first() && !in_memory_) {
    folder_.emplace(folder, options_.average_checkpoints);
  }
  if (options_.reload && !in_memory_ && has_snapshot(folder)) {
    read_snapshot(detail::snapshot_in(folder));
  } else if (folder_) {
    folder_->start_again();
  }
  gradients_.emplace(task, options_, device, workers_);
  workers_.barrier();  // nobody writes before all have read
}

// Whether any process is asked to stop; and all take the first one's time.
bool TrainingLoop::Run::agree(const detail::BatchShare& share) {
  const bool stop = callbacks_.stop_requested && callbacks_.stop_requested();
  if (workers_.size() == 1) {
    clock_.advance(share.epochs_done, clock_.elapsed());
    return stop;
  }
  auto said = torch::tensor({workers_.is_first() ? clock_.elapsed() : 0.0, stop ? 1.0 : 0.0},
                            torch::kDouble);
  workers_.max(said);
  clock_.advance(share.epochs_done, said[0].item<double>());
  return said[1].item<double>() > 0;
}

void TrainingLoop::Run::update(const detail::BatchShare& share) {
  optimizer_->zero_grad();
  const auto loss = gradients_->backward(share, clock_.updates());
  const auto norm = optimizer_->clip_gradients(options_.clip_norm);
  rate_ = options_.schedule.rate(clock_.updates() + 1, clock_.progress());
  // What is not finite is left out on the device, without waiting for it. Of several processes only
  // the norm is the same.
  auto is_finite = norm.isfinite();
  if (workers_.size() == 1) is_finite = is_finite.logical_and(loss.isfinite());
  const auto skipped = is_finite.logical_not().to(torch::kFloat);
  optimizer_->step(rate_, skipped);
  if (average_) average_->update(clock_.updates() + 1);
  sums_.add(share, loss, norm, skipped);
  bad_in_a_row_ = bad_in_a_row_.defined() ? (bad_in_a_row_ + skipped) * skipped : skipped;

  const bool is_new_epoch = share.at.pool == 0 && share.at.batch == 0;
  state_.examples = (is_new_epoch ? 0 : state_.examples) + share.examples;
  state_.at = share.after;
  epoch_ = share.at.epoch;
}

void TrainingLoop::Run::check_finite(const detail::BatchShare& share) {
  if (bad_in_a_row_.item<double>() < static_cast<double>(options_.max_bad_updates)) return;
  TORCH_CHECK(false, kLoop, ": expected a finite loss and gradient, got none in ",
              options_.max_bad_updates, " updates in a row; the last was update ", clock_.updates(),
              ", batch ", share.at.batch + 1, " of epoch ", share.at.epoch + 1, ", whose ",
              loader_.describe(share.at),
              ". The folder's snapshot is from before; try a lower learning rate");
}

TrainingReport TrainingLoop::Run::make_report() const {
  TrainingReport report;
  report.epoch = static_cast<int64_t>(epoch_) + 1;
  report.update = clock_.updates();
  report.examples = state_.examples;
  report.learning_rate = rate_;
  report.progress = clock_.progress();
  report.elapsed = clock_.seconds();
  report.time_left = clock_.time_left();
  report.tokens_per_second = sums_.tokens_per_second();
  return report;
}

void TrainingLoop::Run::report(bool is_due) {
  if (callbacks_.progress) callbacks_.progress(make_report());
  if (!is_due) return;
  auto report = make_report();
  sums_.fill(report, workers_);
  if (folder_) folder_->write(report);
  if (callbacks_.report) callbacks_.report(report);
  sums_ = {};
}

ValidationReport TrainingLoop::Run::score_and_save() {
  ValidationReport report;
  report.epoch = static_cast<int64_t>(epoch_) + 1;
  report.update = clock_.updates();
  {
    const detail::GeneratorScope generators(
        detail::seed_of_update(options_.seed, clock_.updates(), workers_.rank()), device_);
    task_.module().eval();
    report.scores = task_.scores();
    task_.module().train();
  }
  for (const auto& [metric, score] : report.scores) {
    const auto best = state_.best.find(metric);
    if (best == state_.best.end() || task_.is_better(metric, score, best->second)) {
      state_.best[metric] = score;
      report.improved.push_back(metric);
    }
  }
  if (folder_) folder_->save(task_, report.improved);
  report.elapsed = clock_.elapsed();
  return report;
}

ValidationReport TrainingLoop::Run::validate() {
  const detail::AverageScope averaged(average_);
  auto report = score_and_save();
  if (folder_) folder_->keep(clock_.updates(), task_.module());
  const bool better = std::ranges::count(report.improved, task_.metrics().back()) > 0;
  state_.stalled = better ? 0 : state_.stalled + 1;
  return report;
}

void TrainingLoop::Run::save_unscored() {
  if (!folder_) return;
  const detail::AverageScope averaged(average_);
  folder_->save(task_, {});
  folder_->keep(clock_.updates(), task_.module());
}

// The folder's model becomes the mean of the last checkpoints; ours stays, should the run be made
// longer.
void TrainingLoop::Run::finish_with_mean(std::vector<ValidationReport>& reports) {
  const auto own = detail::weights_of(task_.module());
  detail::TensorMap kept;
  for (const auto& [name, tensor] : own) kept[name] = tensor.clone();
  folder_->take_mean(task_.module());
  if (task_.metrics().empty()) {
    folder_->save(task_, {});
  } else {
    reports.push_back(score_and_save());
    reports.back().of_mean = true;
  }
  const torch::NoGradGuard no_grad;
  for (auto [name, tensor] : own) tensor.copy_(kept.at(name));
}

// Validates, and writes everything before anyone is told.
void TrainingLoop::Run::save(bool is_last) {
  const auto start = std::chrono::steady_clock::now();
  std::vector<ValidationReport> reports;
  if (workers_.is_first()) {
    if (task_.metrics().empty()) {
      save_unscored();
    } else {
      reports.push_back(validate());
    }
    if (is_last && folder_ && folder_->averages()) finish_with_mean(reports);
    if (folder_) {
      for (const auto& report : reports) folder_->write(report);
      write_snapshot();
    }
  }
  const auto stalled = torch::full({}, state_.stalled, torch::kLong);
  workers_.broadcast({stalled});
  state_.stalled = stalled.item<int64_t>();
  for (auto& report : reports) {
    if (callbacks_.validation) callbacks_.validation(report);
    result_.last = std::move(report);
  }
  sums_.leave_out(std::chrono::steady_clock::now() - start);
}

bool TrainingLoop::Run::has_lost_patience() const {
  return options_.early_stopping > 0 && state_.stalled >= options_.early_stopping;
}

void TrainingLoop::Run::note(const std::string& text) const {
  if (callbacks_.note) callbacks_.note(text);
}

json TrainingLoop::Run::identity() const {
  auto identity = json::parse(task_.identity());
  identity.update({{"seed", options_.seed},
                   {"exponential_smoothing", options_.exponential_smoothing},
                   {"optimizer", options_.optimizer == OptimizerKind::kMuon ? "muon" : "adam"},
                   {"number of pools", task_.pools()}});
  return identity;
}

void TrainingLoop::Run::write_snapshot() const {
  detail::Snapshot snapshot;
  snapshot.identity = identity();
  snapshot.state = state_;
  snapshot.state.update = clock_.updates();
  snapshot.state.epochs = clock_.epochs();
  snapshot.state.elapsed = clock_.elapsed();
  snapshot.weights = detail::weights_of(task_.module());
  snapshot.optimizer = optimizer_->state();
  if (average_) snapshot.average = average_->state();
  folder_->write(snapshot);
}

void TrainingLoop::Run::read_snapshot(const fs::path& path) {
  const auto snapshot = detail::Snapshot::read(path, identity());
  detail::copy_weights(path, snapshot.weights, detail::weights_of(task_.module()));
  optimizer_->load_state(snapshot.optimizer);
  if (average_) average_->load_state(snapshot.average);
  state_ = snapshot.state;
  clock_.resume(state_.update, state_.epochs, state_.elapsed);
  epoch_ = state_.at.epoch;
  resumed_ = true;
}

void TrainingLoop::Run::begin() {
  clock_.start();
  if (folder_) folder_->open_log(clock_.updates());
  sums_ = {};
  result_ = {};
  if (resumed_) note(fmt::format("resumed after update {}", clock_.updates()));
  task_.module().train();
  loader_.seek(state_.at);
}

TrainingResult TrainingLoop::Run::run(const TrainingCallbacks& callbacks) {
  callbacks_ = {};
  callbacks_.stop_requested = callbacks.stop_requested;
  if (workers_.is_first()) callbacks_ = callbacks;
  begin();
  bool finished = clock_.progress() >= 1.0;
  const bool has_work = !finished;
  while (!finished && !result_.interrupted) {
    const auto share = loader_.next();
    update(share);
    const bool stop = agree(share);
    finished = clock_.progress() >= 1.0;

    const bool reports = clock_.is_due(options_.disp_freq) || finished;
    if (reports || device_.is_cpu()) check_finite(share);
    report(reports);
    if (clock_.is_due(options_.valid_freq) || finished) save(finished);
    if (has_lost_patience() && !finished) {
      note(fmt::format("stopped early: no better {} in {} validations", task_.metrics().back(),
                       state_.stalled));
      finished = true;
    }
    if (!finished && stop) {
      save_unscored();
      if (folder_) write_snapshot();
      workers_.barrier();
      result_.interrupted = true;
    }
  }
  if (has_work && finished && in_memory_ && average_) average_->swap();
  task_.module().eval();
  result_.updates = clock_.updates();
  result_.elapsed = clock_.elapsed();
  return std::exchange(result_, {});
}

TrainingLoop::TrainingLoop(TrainingTask& task, const TrainingOptions& options, fs::path folder,
                           torch::Device device, const WorkerGroup& workers)
    : run_(std::make_unique<Run>(task, options, std::move(folder), device, workers)) {}

TrainingLoop::~TrainingLoop() = default;

TrainingResult TrainingLoop::run(const TrainingCallbacks& callbacks) {
  return run_->run(callbacks);
}

bool TrainingLoop::resumed() const { return run_->resumed(); }

bool has_snapshot(const fs::path& folder) { return fs::exists(detail::snapshot_in(folder)); }

}  // namespace attend
