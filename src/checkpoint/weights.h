#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "checkpoint/weights_file.h"
#include "detail/json_file.h"
#include "detail/named_tensors.h"

namespace attend::detail {

using NamedShapes = std::map<std::string, std::vector<int64_t>>;

/// What a model's weights file must hold and what it may hold besides, by the names of the file.
struct WeightsPlan {
  NamedShapes wanted;

  /// Names that stand for one tensor: a file may hold any of them, equal to each other. The first
  /// is the one in `wanted`.
  std::vector<std::vector<std::string>> tied;

  /// Tensors that a file may have but the model works out by itself.
  NamedShapes derived;

  /// Tensors of `wanted` that may be -infinity: the biases of what is never predicted.
  std::set<std::string> may_exclude;
};

/// Every parameter and buffer of `module` by its name, detached.
NamedTensors named_weights(const torch::nn::Module& module);

/// Throws: FileError unless the file has layers enough for the count that the configuration gives
///         under `key`. Its tensors of layer i begin with `prefix` and i and a dot. What a plan then
///         holds is no more than the file's header could.
void check_layer_count(const JsonFile& config, const char* key, int64_t count,
                       const WeightsFile& file, const std::string& prefix);

/// Compares the file's header with the plan. Reads no data.
/// Throws: FileError naming the tensors that are missing, unused, of another shape or no numbers of
///         floating point.
void check_header(const WeightsFile& file, const WeightsPlan& plan);

/// The tensors of `plan.wanted`, of a file whose header fits. `derived` holds the values of
/// `plan.derived`; those of a file must agree to 1e-5 and the precision of their dtype.
/// Throws: FileError naming the tensors that are not equal to their twin or to what is derived, and
///         those that are not finite.
NamedTensors read_weights(const WeightsFile& file, const WeightsPlan& plan,
                          const NamedTensors& derived = {});

/// Copies `weights`, which must have the names and shapes of the module's own.
void fill(torch::nn::Module& module, const NamedTensors& weights);

}  // namespace attend::detail
