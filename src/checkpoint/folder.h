#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "checkpoint/json_file.h"
#include "checkpoint/weights.h"

namespace attend::detail {

/// Writes the JSON files and `model.safetensors` of a model folder, which is made if need be.
void write_folder(const std::filesystem::path& folder,
                  const std::vector<std::pair<std::string, nlohmann::json>>& files,
                  const NamedTensors& weights);

/// Says that a folder holds another architecture than one of those that are `known`.
[[noreturn]] void refuse_model_type(const JsonFile& config, const std::string& known);

/// A module made from options that come from a file: what its constructor says about them is that
/// file's fault.
template <typename Holder, typename Options>
Holder build(const std::filesystem::path& config, const Options& options) {
  try {
    return Holder(options);
  } catch (const c10::Error& error) {
    throw FileError(config, error.what_without_backtrace());
  }
}

}  // namespace attend::detail
