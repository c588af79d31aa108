#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "checkpoint/safetensors_reader.h"

namespace attend::detail {

/// The weights of a model folder: `model.safetensors` or, where there is none, the files that
/// `model.safetensors.index.json` lists. Opening them reads their headers and no data.
class WeightsFile {
 public:
  /// The name under which a tensor is known here, by its name in the file; none to leave it out.
  using Rename = std::function<std::optional<std::string>(const std::string&)>;

  /// Throws: FileError if the folder has no such file, and says what to do where it has a pickle;
  ///         if a shard is missing or lies elsewhere; if index and shards disagree; if two tensors
  ///         get one name.
  explicit WeightsFile(const std::filesystem::path& folder, const Rename& rename = {});

  /// The file, or the index: what a message about its tensors starts with.
  const std::filesystem::path& path() const { return path_; }

  const std::map<std::string, TensorInfo>& tensors() const { return tensors_; }

  /// The tensor of this name, which must be one of `tensors()`.
  torch::Tensor read(const std::string& name) const;

  /// The number of elements of all its tensors.
  int64_t numel() const;

 private:
  void open_shards(const std::filesystem::path& folder);
  void add_tensors(const Rename& rename);

  std::filesystem::path path_;
  std::vector<SafetensorsReader> shards_;
  std::map<std::string, TensorInfo> tensors_;
  std::map<std::string, std::pair<size_t, std::string>> places_;  // shard, and name there
};

}  // namespace attend::detail
