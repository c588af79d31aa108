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
  /// Maps a tensor's name in the file to the name used here; nullopt skips the tensor.
  using Rename = std::function<std::optional<std::string>(const std::string&)>;

  /// Throws: FileError if the folder has no weights file (with advice if it has a pickle), if a
  ///         shard is missing or outside the folder, if index and shards disagree, or if two
  ///         tensors map to the same name.
  explicit WeightsFile(const std::filesystem::path& folder, const Rename& rename = {});

  /// The path of the file or the index, used as the start of error messages about its tensors.
  const std::filesystem::path& path() const { return path_; }

  const std::map<std::string, TensorInfo>& tensors() const { return tensors_; }

  /// The tensor of this name, which must be in `tensors()`.
  torch::Tensor read(const std::string& name) const;

  /// The total number of elements of all tensors.
  int64_t numel() const;

 private:
  void open_shards(const std::filesystem::path& folder);
  void add_tensors(const Rename& rename);

  std::filesystem::path path_;
  std::vector<SafetensorsReader> shards_;
  std::map<std::string, TensorInfo> tensors_;
  std::map<std::string, std::pair<size_t, std::string>> places_;  // shard index, name there
};

}  // namespace attend::detail
