#include "training/run_folder.h"

#include <system_error>
#include <utility>

#include "attend/file_error.h"
#include "detail/atomic_file.h"

namespace attend::detail {
namespace {

namespace fs = std::filesystem;

constexpr auto kMetrics = "metrics.jsonl";
constexpr auto kCheckpoints = "checkpoints";

}  // namespace

fs::path snapshot_in(const fs::path& folder) { return folder / "training.safetensors"; }

RunFolder::RunFolder(fs::path path, int64_t average_checkpoints) : path_(std::move(path)) {
  std::error_code failed;
  fs::create_directories(path_, failed);
  if (failed) throw FileError(path_, "cannot make the folder: " + failed.message());
  remove_leftovers(path_);
  if (average_checkpoints > 0) checkpoints_.emplace(path_ / kCheckpoints, average_checkpoints);
}

void RunFolder::start_again() const {
  std::error_code ignored;  // opening it says it better
  fs::remove(path_ / kMetrics, ignored);
}

void RunFolder::open_log(int64_t update) { log_.emplace(path_ / kMetrics, update); }

void RunFolder::write(const Snapshot& snapshot) const { snapshot.write(snapshot_in(path_)); }

void RunFolder::save(TrainingTask& task, const std::vector<std::string>& best_by) const {
  task.save(path_);
  for (const auto& metric : best_by) task.save(path_ / ("best-" + metric));
}

void RunFolder::keep(int64_t update, const torch::nn::Module& module) {
  if (checkpoints_) checkpoints_->keep(update, weights_of(module));
}

void RunFolder::take_mean(torch::nn::Module& module) const {
  copy_weights(path_ / kCheckpoints, checkpoints_->mean(), weights_of(module));
}

}  // namespace attend::detail
