#pragma once

#include <torch/torch.h>

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

namespace attend::detail {

using TensorMap = std::map<std::string, torch::Tensor>;

/// What a run goes on from: one safetensors file, replaced whole or not at all.
struct Snapshot {
  nlohmann::json identity;  // what must be the same in the run that goes on
  nlohmann::json state;     // counters
  TensorMap weights, optimizer, average;
};

/// Throws: FileError.
void write_snapshot(const std::filesystem::path& path, const Snapshot& snapshot);

/// Throws: FileError, also where the file is no snapshot or its identity is not `identity`, whose
///         first field that differs it names.
Snapshot read_snapshot(const std::filesystem::path& path, const nlohmann::json& identity);

/// A module's parameters by name, sharing their memory.
TensorMap weights_of(const torch::nn::Module& module);

/// Copies `weights`, read from the file at `path`, into `own`; all of them or, if names or shapes
/// differ, none.
///
/// Throws: FileError that names the tensor.
void copy_weights(const std::filesystem::path& path, const TensorMap& weights,
                  const TensorMap& own);

}  // namespace attend::detail
