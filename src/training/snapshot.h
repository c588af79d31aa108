#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "training/data_position.h"

namespace attend::detail {

using TensorMap = std::map<std::string, torch::Tensor>;

/// Everything that a run that goes on must know besides tensors.
struct TrainingState {
  int64_t update = 0;    // done
  DataPosition at;       // of the next batch
  double epochs = 0;     // done
  int64_t examples = 0;  // of this epoch
  double elapsed = 0;    // seconds
  int64_t stalled = 0;   // validations without a better score
  std::map<std::string, double> best;
};

/// What a run goes on from: one safetensors file, replaced whole or not at all. Touches that file
/// and no other.
struct Snapshot {
  nlohmann::json identity;  // what must be the same in the run that goes on
  TrainingState state;
  TensorMap weights, optimizer, average;

  /// Throws: FileError.
  void write(const std::filesystem::path& path) const;

  /// Throws: FileError, also where the file is no snapshot or its identity is not `identity`, whose
  ///         first field that differs it names.
  static Snapshot read(const std::filesystem::path& path, const nlohmann::json& identity);
};

/// A module's parameters by name, sharing their memory.
TensorMap weights_of(const torch::nn::Module& module);

/// Copies `weights`, read from the file at `path`, into `own`; all of them or, if names or shapes
/// differ, none.
///
/// Throws: FileError that names the tensor.
void copy_weights(const std::filesystem::path& path, const TensorMap& weights,
                  const TensorMap& own);

}  // namespace attend::detail
