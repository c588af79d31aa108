#include "attend/training/trainer.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "attend/checkpoint/model_folder.h"
#include "attend/checkpoint/safetensors.h"
#include "attend/translation/bleu.h"
#include "attend/translation/chrf.h"
#include "attend/translation/translator.h"
#include "detail/atomic_file.h"
#include "detail/check.h"
#include "training/metrics_log.h"
#include "training/weight_average.h"

namespace attend {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr auto kTrainer = "Trainer";
constexpr auto kSnapshot = "training.safetensors";
constexpr auto kMetrics = "metrics.jsonl";
constexpr auto kCrossEntropy = "cross-entropy";
constexpr auto kWeights = "weights.", kAverage = "average.", kAdam = "adam.", kRandom = "random.";

bool is_better(const std::string& metric, double score, double best) {
  return metric == kCrossEntropy ? score < best : score > best;
}

// The tensors of a snapshot whose names start with `prefix`, without it.
std::map<std::string, torch::Tensor> part_of(const TensorFile& file, const std::string& prefix) {
  std::map<std::string, torch::Tensor> part;
  for (const auto& [name, tensor] : file.tensors) {
    if (name.starts_with(prefix)) part[name.substr(prefix.size())] = tensor;
  }
  return part;
}

void add_part(TensorFile& file, const std::string& prefix,
              const std::map<std::string, torch::Tensor>& part) {
  for (const auto& [name, tensor] : part) file.tensors[prefix + name] = tensor;
}

std::map<std::string, torch::Tensor> weights_of(const torch::nn::Module& module) {
  std::map<std::string, torch::Tensor> weights;
  for (const auto& item : module.named_parameters()) weights[item.key()] = item.value().detach();
  return weights;
}

std::vector<TokenPair> encode(const SubwordTokenizer& tokenizer, const ParallelText& text) {
  std::vector<TokenPair> pairs;
  pairs.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    pairs.push_back(
        {tokenizer.encode_source(text.source[i]), tokenizer.encode_target(text.target[i])});
  }
  return pairs;
}

}  // namespace

Duration Duration::parse(const std::string& text) {
  const auto bad = [&] {
    TORCH_CHECK_VALUE(false, "Duration: expected a number > 0 and e (epochs), u (updates) or m ",
                      "(minutes), such as 20e, got ", text);
  };
  size_t used = 0;
  Duration result;
  try {
    result.amount = std::stod(text, &used);
  } catch (const std::exception&) {
    bad();
  }
  if (used + 1 != text.size() || !(result.amount > 0) || !std::isfinite(result.amount)) bad();
  switch (text.back()) {
    case 'e':
      result.unit = Unit::kEpochs;
      break;
    case 'u':
      result.unit = Unit::kUpdates;
      break;
    case 'm':
      result.unit = Unit::kMinutes;
      break;
    default:
      bad();
  }
  return result;
}

std::string Duration::to_string() const {
  return fmt::format("{:g}{}", amount,
                     unit == Unit::kEpochs ? 'e' : (unit == Unit::kUpdates ? 'u' : 'm'));
}

void TrainerOptions::validate() const {
  for (const auto& duration : {after, valid_freq, disp_freq}) {
    TORCH_CHECK_VALUE(duration.amount > 0, "TrainerOptions: expected durations > 0, got ",
                      duration.amount);
  }
  detail::check_positive("TrainerOptions", "batch_tokens", batch_tokens);
  detail::check_positive("TrainerOptions", "max_length", max_length);
  detail::check_positive("TrainerOptions", "valid_beam_size", valid_beam_size);
  detail::check_probability("TrainerOptions", "label_smoothing", label_smoothing);
  detail::check_probability("TrainerOptions", "exponential_smoothing", exponential_smoothing);
  TORCH_CHECK_VALUE(clip_norm >= 0, "TrainerOptions: expected clip_norm >= 0, got ", clip_norm);
  TORCH_CHECK_VALUE(early_stopping >= 0, "TrainerOptions: expected early_stopping >= 0, got ",
                    early_stopping);
  for (const auto& metric : valid_metrics) {
    TORCH_CHECK_VALUE(
        metric == kCrossEntropy || metric == "bleu" || metric == "chrf",
        "TrainerOptions: expected valid_metrics of cross-entropy, bleu and chrf, got ", metric);
  }
  schedule.validate();
}

class Trainer::Run {
 public:
  Run(std::shared_ptr<TranslationModel> model, SubwordTokenizer tokenizer,
      const ParallelText& train, const ParallelText& valid, fs::path folder,
      const TrainerOptions& options, torch::Device device);

  TrainingResult run(const TrainerCallbacks& callbacks);
  bool resumed() const { return resumed_; }

 private:
  // Everything that a resumed run must know besides tensors.
  struct Counters {
    int64_t update = 0;   // done
    uint64_t epoch = 0;   // the current one, from 0
    size_t batch = 0;     // done in this epoch
    double elapsed = 0;   // seconds before this process started
    int64_t stalled = 0;  // validations without a better score
    std::map<std::string, double> best;
    int64_t validated_at = -1;  // update of the last validation
  };
  // Sums since the last report; the tensors stay on the device until it is due.
  struct Sums {
    torch::Tensor loss, norm;
    int64_t updates = 0, target_tokens = 0, tokens = 0;
    Clock::time_point since = Clock::now();
  };

  // The longest source or target, in tokens, that is trained on.
  int64_t longest_side() const {
    return std::min(options_.max_length, model_->max_target_length());
  }
  double elapsed() const;
  double amount_done(Duration::Unit unit) const;
  double progress() const;
  bool is_due(const Duration& every, double before) const;
  void update(const std::vector<size_t>& chosen);
  TrainingReport make_report() const;
  ValidationReport validate();
  double cross_entropy();
  void save_folder(const fs::path& folder);
  void save_averaged_folder();
  void save_snapshot() const;
  void load_snapshot();
  json identity() const;

  std::shared_ptr<TranslationModel> model_;
  SubwordTokenizer tokenizer_;
  fs::path folder_;
  TrainerOptions options_;
  torch::Device device_;
  std::vector<TokenPair> train_, valid_;
  ParallelText valid_text_;
  size_t left_out_ = 0;
  Adam adam_;
  std::optional<detail::WeightAverage> average_;
  Counters counters_;
  Sums sums_;
  int64_t sentences_ = 0;
  size_t batches_in_epoch_ = 1;
  double rate_ = 0;
  bool resumed_ = false;
  Clock::time_point started_ = Clock::now();
};

Trainer::Run::Run(std::shared_ptr<TranslationModel> model, SubwordTokenizer tokenizer,
                  const ParallelText& train, const ParallelText& valid, fs::path folder,
                  const TrainerOptions& options, torch::Device device)
    : model_((model->module().to(device), std::move(model))),
      tokenizer_(std::move(tokenizer)),
      folder_(std::move(folder)),
      options_(options),
      device_(device),
      train_(encode(tokenizer_, train)),
      valid_(encode(tokenizer_, valid)),
      valid_text_(valid),
      adam_(model_->module(), options.adam) {
  options_.validate();
  const auto is_unusable = [&](const TokenPair& pair) {
    const auto longest = static_cast<int64_t>(std::max(pair.source.size(), pair.target.size()));
    // A side with nothing but its end token teaches nothing.
    return longest > longest_side() || pair.source.size() < 2 || pair.target.size() < 2;
  };
  left_out_ = std::erase_if(train_, is_unusable);
  TORCH_CHECK(!train_.empty(), kTrainer, ": expected training pairs of 1 to ", longest_side(),
              " tokens a side, got none (", left_out_, " left out)");
  if (options_.exponential_smoothing > 0) {
    average_.emplace(model_->module(), options_.exponential_smoothing);
  }
  std::error_code failed;
  fs::create_directories(folder_, failed);
  if (failed) throw FileError(folder_, "cannot make the folder: " + failed.message());
  detail::remove_leftovers(folder_);
  if (options_.reload && has_snapshot(folder_)) {
    load_snapshot();
  } else {
    fs::remove(folder_ / kMetrics, failed);
    torch::manual_seed(options_.seed);
  }
}

double Trainer::Run::elapsed() const {
  return counters_.elapsed + std::chrono::duration<double>(Clock::now() - started_).count();
}

double Trainer::Run::amount_done(Duration::Unit unit) const {
  switch (unit) {
    case Duration::Unit::kEpochs:
      return static_cast<double>(counters_.epoch) +
             static_cast<double>(counters_.batch) / static_cast<double>(batches_in_epoch_);
    case Duration::Unit::kUpdates:
      return static_cast<double>(counters_.update);
    case Duration::Unit::kMinutes:
      return elapsed() / 60.0;
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

void Trainer::Run::update(const std::vector<size_t>& chosen) {
  const auto special = model_->special_tokens();
  const auto batch = make_batch(train_, chosen, special.start_id, special.pad_id);
  const auto move = [&](const torch::Tensor& t) { return t.to(device_, /*non_blocking=*/true); };
  adam_.zero_grad();
  const auto loss = model_->loss_sum(move(batch.source), move(batch.target_input),
                                     move(batch.target), options_.label_smoothing);
  (loss / static_cast<double>(batch.target_tokens)).backward();
  const auto norm = adam_.clip_gradients(options_.clip_norm);
  rate_ = options_.schedule.rate(counters_.update + 1, progress());
  adam_.step(rate_);
  if (average_) average_->update(counters_.update + 1);

  const auto add = [](torch::Tensor& sum, const torch::Tensor& next) {
    sum = sum.defined() ? sum + next : next;
  };
  add(sums_.loss, loss.detach());
  add(sums_.norm, norm);
  ++sums_.updates;
  sums_.target_tokens += batch.target_tokens;
  sums_.tokens += batch.source_tokens + batch.target_tokens;
  sentences_ += static_cast<int64_t>(chosen.size());
}

TrainingReport Trainer::Run::make_report() const {
  TrainingReport report;
  report.epoch = static_cast<int64_t>(counters_.epoch) + 1;
  report.update = counters_.update;
  report.sentences = sentences_;
  report.learning_rate = rate_;
  report.progress = progress();
  report.elapsed = elapsed();
  report.time_left = report.progress > 0 ? report.elapsed / report.progress - report.elapsed : 0;
  if (sums_.updates > 0) {
    const double seconds = std::chrono::duration<double>(Clock::now() - sums_.since).count();
    report.tokens_per_second = static_cast<double>(sums_.tokens) / std::max(seconds, 1e-9);
  }
  return report;
}

double Trainer::Run::cross_entropy() {
  const torch::InferenceMode inference;
  const auto special = model_->special_tokens();
  double loss = 0;
  int64_t tokens = 0;
  for (const auto& chosen : plan_batches_in_order(valid_, options_.batch_tokens)) {
    const auto batch = make_batch(valid_, chosen, special.start_id, special.pad_id);
    loss += model_
                ->loss_sum(batch.source.to(device_), batch.target_input.to(device_),
                           batch.target.to(device_))
                .item<double>();
    tokens += batch.target_tokens;
  }
  return loss / static_cast<double>(std::max<int64_t>(tokens, 1));
}

ValidationReport Trainer::Run::validate() {
  ValidationReport report;
  report.epoch = static_cast<int64_t>(counters_.epoch) + 1;
  report.update = counters_.update;
  model_->module().eval();
  if (average_) average_->swap();
  std::vector<std::string> hypotheses;
  const auto translated = [&]() -> const std::vector<std::string>& {
    if (hypotheses.empty()) {
      const Translator translator(model_, tokenizer_, {.beam_size = options_.valid_beam_size},
                                  device_);
      for (auto& best : translator.translate(valid_text_.source)) {
        hypotheses.push_back(std::move(best.front().text));
      }
    }
    return hypotheses;
  };
  const bool last_decides = !options_.valid_metrics.empty();
  for (const auto& metric : options_.valid_metrics) {
    const double score = metric == kCrossEntropy ? cross_entropy()
                         : metric == "bleu"      ? corpus_bleu(translated(), valid_text_.target,
                                                               {.tokenizer = options_.bleu_tokenizer})
                                                  .score
                                            : corpus_chrf(translated(), valid_text_.target).score;
    report.scores.emplace_back(metric, score);
    const auto best = counters_.best.find(metric);
    if (best == counters_.best.end() || is_better(metric, score, best->second)) {
      counters_.best[metric] = score;
      report.improved.push_back(metric);
    }
  }
  if (last_decides) {
    const bool better =
        std::ranges::find(report.improved, options_.valid_metrics.back()) != report.improved.end();
    counters_.stalled = better ? 0 : counters_.stalled + 1;
  }
  counters_.validated_at = counters_.update;
  save_folder(folder_);
  for (const auto& metric : report.improved) save_folder(folder_ / ("best-" + metric));
  if (average_) average_->swap();
  model_->module().train();
  report.elapsed = elapsed();
  return report;
}

void Trainer::Run::save_folder(const fs::path& folder) {
  save_model(folder, *model_);
  tokenizer_.save(folder);
}

void Trainer::Run::save_averaged_folder() {
  if (average_) average_->swap();
  save_folder(folder_);
  if (average_) average_->swap();
}

json Trainer::Run::identity() const {
  return {{"corpus", fingerprint(train_)},
          {"seed", options_.seed},
          {"batch_tokens", options_.batch_tokens},
          {"exponential_smoothing", options_.exponential_smoothing}};
}

void Trainer::Run::save_snapshot() const {
  TensorFile file;
  add_part(file, kWeights, weights_of(model_->module()));
  add_part(file, kAdam, adam_.state());
  if (average_) add_part(file, kAverage, average_->state());
  file.tensors[std::string(kRandom) + "cpu"] =
      at::globalContext().defaultGenerator(torch::kCPU).get_state();
  if (device_.is_cuda()) {
    file.tensors[std::string(kRandom) + "cuda"] =
        at::globalContext().defaultGenerator(device_).get_state();
  }
  const json state{{"update", counters_.update},   {"epoch", counters_.epoch},
                   {"batch", counters_.batch},     {"elapsed", elapsed()},
                   {"stalled", counters_.stalled}, {"best", counters_.best},
                   {"sentences", sentences_},      {"validated_at", counters_.validated_at}};
  file.metadata = {{"format", "attend training snapshot 1"},
                   {"identity", identity().dump()},
                   {"state", state.dump()}};
  write_safetensors(folder_ / kSnapshot, file);
}

void Trainer::Run::load_snapshot() {
  const auto path = folder_ / kSnapshot;
  const auto file = read_safetensors(path);
  json identity, state;
  try {
    identity = json::parse(file.metadata.at("identity"));
    state = json::parse(file.metadata.at("state"));
    const auto own = this->identity();
    for (const auto& [key, value] : own.items()) {
      if (identity.at(key) != value) {
        throw FileError(path,
                        fmt::format("expected a run with the same {} ({}), got {}; train into "
                                    "another folder or start again with --no-reload",
                                    key, value.dump(), identity.at(key).dump()));
      }
    }
    counters_.update = state.at("update");
    counters_.epoch = state.at("epoch");
    counters_.batch = state.at("batch");
    counters_.elapsed = state.at("elapsed");
    counters_.stalled = state.at("stalled");
    counters_.best = state.at("best").get<std::map<std::string, double>>();
    counters_.validated_at = state.at("validated_at");
    sentences_ = state.at("sentences");
  } catch (const std::out_of_range&) {
    throw FileError(path, "expected a training snapshot, got another safetensors file");
  } catch (const json::exception& error) {
    throw FileError(path, fmt::format("expected a training snapshot, got {}", error.what()));
  }

  const auto weights = part_of(file, kWeights);
  const auto own = weights_of(model_->module());
  for (const auto& [name, tensor] : own) {
    const auto found = weights.find(name);
    if (found == weights.end() || found->second.sizes() != tensor.sizes()) {
      throw FileError(
          path, fmt::format(
                    "expected the tensor {} of shape {}, got {}", name,
                    detail::shape_string(tensor.sizes()),
                    found == weights.end() ? "none" : detail::shape_string(found->second.sizes())));
    }
  }
  if (weights.size() != own.size()) {
    throw FileError(
        path, fmt::format("expected {} tensors of weights, got {}", own.size(), weights.size()));
  }
  adam_.load_state(part_of(file, kAdam));
  if (average_) average_->load_state(part_of(file, kAverage));
  const torch::NoGradGuard no_grad;
  for (auto [name, tensor] : own) tensor.copy_(weights.at(name));
  const auto set_random = [&](const char* name, torch::Device device) {
    const auto found = file.tensors.find(std::string(kRandom) + name);
    if (found == file.tensors.end()) return;
    auto generator = at::globalContext().defaultGenerator(device);
    generator.set_state(found->second);
  };
  set_random("cpu", torch::kCPU);
  if (device_.is_cuda()) set_random("cuda", device_);
  resumed_ = true;
}

TrainingResult Trainer::Run::run(const TrainerCallbacks& callbacks) {
  detail::MetricsLog log(folder_ / kMetrics, counters_.update);
  started_ = Clock::now();
  sums_ = {};
  if (callbacks.note) {
    if (left_out_ > 0) {
      callbacks.note(
          fmt::format("left out {} training pairs that are empty or longer than {} tokens",
                      left_out_, longest_side()));
    }
    if (resumed_) callbacks.note(fmt::format("resumed after update {}", counters_.update));
  }
  TrainingResult result;
  const auto do_validation = [&] {
    const auto start = Clock::now();
    auto report = validate();
    log.write(report);
    save_snapshot();
    if (callbacks.validation) callbacks.validation(report);
    result.last = std::move(report);
    sums_.since += Clock::now() - start;  // speed is that of training
  };

  model_->module().train();
  const bool can_validate = valid_text_.size() > 0 && !options_.valid_metrics.empty();
  bool finished = progress() >= 1.0;
  while (!finished && !result.interrupted) {
    const auto plan = plan_batches(train_, options_.batch_tokens, options_.seed, counters_.epoch);
    batches_in_epoch_ = plan.size();
    while (counters_.batch < plan.size()) {
      const double before_report = amount_done(options_.disp_freq.unit);
      const double before_validation = amount_done(options_.valid_freq.unit);
      update(plan[counters_.batch]);
      ++counters_.update;
      ++counters_.batch;
      if (callbacks.progress) callbacks.progress(make_report());
      finished = progress() >= 1.0;
      if (is_due(options_.disp_freq, before_report) || finished) {
        auto report = make_report();
        report.cost = sums_.loss.item<double>() / static_cast<double>(sums_.target_tokens);
        report.gradient_norm = sums_.norm.item<double>() / static_cast<double>(sums_.updates);
        log.write(report);
        if (callbacks.report) callbacks.report(report);
        sums_ = {};
      }
      if (is_due(options_.valid_freq, before_validation) || finished) {
        if (can_validate) {
          do_validation();
        } else {
          save_averaged_folder();
          save_snapshot();
        }
      }
      const bool patience_lost =
          options_.early_stopping > 0 && counters_.stalled >= options_.early_stopping;
      if (patience_lost && !finished) {
        if (callbacks.note) {
          callbacks.note(fmt::format("stopped early: no better {} in {} validations",
                                     options_.valid_metrics.back(), counters_.stalled));
        }
        finished = true;
      }
      if (!finished && callbacks.stop_requested && callbacks.stop_requested()) {
        save_averaged_folder();
        save_snapshot();
        result.interrupted = true;
      }
      if (finished || result.interrupted) break;
    }
    if (counters_.batch >= plan.size()) {
      ++counters_.epoch;
      counters_.batch = 0;
      sentences_ = 0;
    }
  }
  model_->module().eval();
  result.updates = counters_.update;
  result.elapsed = elapsed();
  return result;
}

Trainer::Trainer(std::shared_ptr<TranslationModel> model, SubwordTokenizer tokenizer,
                 const ParallelText& train, const ParallelText& valid, fs::path folder,
                 const TrainerOptions& options, torch::Device device) {
  TORCH_CHECK_VALUE(model != nullptr, kTrainer, ": expected a model, got none");
  run_ = std::make_unique<Run>(std::move(model), std::move(tokenizer), train, valid,
                               std::move(folder), options, device);
}

Trainer::~Trainer() = default;

TrainingResult Trainer::run(const TrainerCallbacks& callbacks) { return run_->run(callbacks); }

bool Trainer::resumed() const { return run_->resumed(); }

bool has_snapshot(const fs::path& folder) { return fs::exists(folder / kSnapshot); }

}  // namespace attend
