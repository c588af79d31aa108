#include "checkpoint/weights_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <system_error>

#include "attend/file_error.h"
#include "detail/excerpt.h"
#include "detail/json_file.h"

namespace attend::detail {
namespace {

namespace fs = std::filesystem;

constexpr auto kSingleFile = "model.safetensors";
constexpr auto kIndexFile = "model.safetensors.index.json";
constexpr auto kWeightMap = "weight_map";

bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

[[noreturn]] void refuse_without_weights(const fs::path& folder) {
  for (const auto* pickle : {"pytorch_model.bin", "pytorch_model.bin.index.json"}) {
    if (is_there(folder / pickle)) {
      throw FileError(
          folder / kSingleFile,
          fmt::format("cannot open: the folder has {}, and pickles can run code and are never "
                      "read; load the folder with transformers and save it there again "
                      "(save_pretrained), which writes {}",
                      pickle, kSingleFile));
    }
  }
  throw FileError(folder / kSingleFile,
                  fmt::format("cannot open: expected it or {}, got neither", kIndexFile));
}

// A plain file name: an index must not refer to files outside the model folder.
bool is_plain_name(std::string_view name) {
  constexpr std::string_view kSuffix = ".safetensors";
  constexpr std::string_view kSeparatorsAndNul("/\\\0", 3);
  return name.size() > kSuffix.size() && name.ends_with(kSuffix) &&
         name.find_first_of(kSeparatorsAndNul) == std::string_view::npos;
}

// The shard file of each tensor, by tensor name.
std::map<std::string, std::string> read_weight_map(const JsonFile& index) {
  const auto found = index.value().find(kWeightMap);
  if (found == index.value().end() || !found->is_object()) {
    throw FileError(index.path(),
                    fmt::format("expected {} to be an object, got {}", kWeightMap,
                                found == index.value().end() ? "none" : found->type_name()));
  }
  std::map<std::string, std::string> weight_map;
  for (const auto& [name, file] : found->items()) {
    if (!file.is_string() || !is_plain_name(file.get_ref<const std::string&>())) {
      throw FileError(index.path(), fmt::format("expected the name of a .safetensors file in the "
                                                "same folder for {}, got {}",
                                                in_quotes(name), brief(file)));
    }
    weight_map.emplace(name, file.get<std::string>());
  }
  return weight_map;
}

}  // namespace

WeightsFile::WeightsFile(const fs::path& folder, const Rename& rename)
    : path_(folder / kSingleFile) {
  if (is_there(path_)) {
    shards_.emplace_back(path_);
  } else if (is_there(folder / kIndexFile)) {
    path_ = folder / kIndexFile;
    open_shards(folder);
  } else {
    refuse_without_weights(folder);
  }
  add_tensors(rename);
}

void WeightsFile::open_shards(const fs::path& folder) {
  const auto weight_map = read_weight_map(JsonFile(path_));
  std::map<std::string, size_t> shard_of;  // index in shards_ by file name
  for (const auto& [name, file] : weight_map) shard_of.try_emplace(file, 0);
  Problems missing;
  for (const auto& [file, place] : shard_of) {
    if (!is_there(folder / file)) missing.add(in_quotes(file) + " is missing");
  }
  if (!missing.empty()) throw FileError(path_, missing.text());

  Problems problems;
  for (auto& [file, place] : shard_of) {
    place = shards_.size();
    const auto& shard = shards_.emplace_back(folder / file);
    for (const auto& [name, info] : shard.tensors()) {
      const auto listed = weight_map.find(name);
      if (listed == weight_map.end() || listed->second != file) {
        problems.add(fmt::format("{} is in {}, where the index does not have it", in_quotes(name),
                                 in_quotes(file)));
      }
    }
  }
  for (const auto& [name, file] : weight_map) {
    if (!shards_[shard_of.at(file)].tensors().contains(name)) {
      problems.add(fmt::format("{} is not in {}", in_quotes(name), in_quotes(file)));
    }
  }
  if (!problems.empty()) throw FileError(path_, problems.text());
}

void WeightsFile::add_tensors(const Rename& rename) {
  for (size_t shard = 0; shard < shards_.size(); ++shard) {
    for (const auto& [name, info] : shards_[shard].tensors()) {
      const auto known_as = rename ? rename(name) : name;
      if (!known_as) continue;
      const auto [place, is_new] = places_.try_emplace(*known_as, shard, name);
      if (!is_new) {
        throw FileError(path_, fmt::format("expected one of {} and {}, got both",
                                           in_quotes(place->second.second), in_quotes(name)));
      }
      tensors_.emplace(*known_as, info);
    }
  }
}

torch::Tensor WeightsFile::read(const std::string& name) const {
  const auto& [shard, own_name] = places_.at(name);
  return shards_[shard].read(own_name);
}

int64_t WeightsFile::numel() const {
  int64_t sum = 0;
  for (const auto& [name, info] : tensors_) {
    int64_t elements = 1;
    for (const auto size : info.shape) elements *= size;
    sum += elements;
  }
  return sum;
}

}  // namespace attend::detail
