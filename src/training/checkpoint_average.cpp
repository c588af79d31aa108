#include "training/checkpoint_average.h"

#include <fmt/format.h>

#include <algorithm>

#include "attend/checkpoint/safetensors.h"
#include "attend/file_error.h"

namespace attend::detail {
namespace {

namespace fs = std::filesystem;

constexpr auto kPrefix = "update-", kSuffix = ".safetensors";

// Ten digits, so that the order of names is that of updates.
std::string checkpoint_name(int64_t update) {
  return fmt::format("{}{:010}{}", kPrefix, update, kSuffix);
}

}  // namespace

CheckpointAverage::CheckpointAverage(fs::path folder, int64_t count)
    : folder_(std::move(folder)), count_(count) {
  std::error_code failed;
  fs::create_directories(folder_, failed);
  if (failed) throw FileError(folder_, "cannot make the folder: " + failed.message());
}

std::vector<fs::path> CheckpointAverage::files() const {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder_)) {
    const auto name = entry.path().filename().string();
    if (name.starts_with(kPrefix) && name.ends_with(kSuffix)) files.push_back(entry.path());
  }
  std::ranges::sort(files);
  return files;
}

void CheckpointAverage::keep(int64_t update, const TensorMap& weights) {
  TensorFile file;
  file.tensors = weights;
  const auto path = folder_ / checkpoint_name(update);
  write_safetensors(path, file);
  auto all = files();
  const auto last = std::ranges::find(all, path);
  const auto until = std::distance(all.begin(), last) + 1;
  for (int64_t i = 0; i < static_cast<int64_t>(all.size()); ++i) {
    if (i < until && i >= until - count_) continue;
    std::error_code ignored;  // one too many does no harm, and the next call tries again
    fs::remove(all[static_cast<size_t>(i)], ignored);
  }
}

TensorMap CheckpointAverage::mean() const {
  TensorMap sum, first;
  const auto all = files();
  TORCH_INTERNAL_ASSERT(!all.empty(), "no checkpoints");
  for (const auto& path : all) {
    for (const auto& [name, tensor] : read_safetensors(path).tensors) {
      const auto value = tensor.to(torch::kDouble);
      auto& total = sum[name];
      total = total.defined() ? total + value : value;
      first.try_emplace(name, tensor);
    }
  }
  for (auto& [name, total] : sum) {
    total = (total / static_cast<double>(all.size())).to(first.at(name).scalar_type());
  }
  return sum;
}

}  // namespace attend::detail
