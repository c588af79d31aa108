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

/// The tensors that a model's weights file must contain and may contain, by their names there.
struct WeightsPlan {
  NamedShapes wanted;

  /// Groups of names of the same tensor. A file may contain any of them, with equal values. The
  /// first name of a group is the one in `wanted`.
  std::vector<std::vector<std::string>> tied;

  /// Tensors that a file may contain although the model computes them.
  NamedShapes derived;

  /// Tensors of `wanted` that may contain -infinity: biases of tokens that are never predicted.
  std::set<std::string> may_exclude;
};

/// All parameters and buffers of `module` by name, detached.
NamedTensors named_weights(const torch::nn::Module& module);

/// Throws: FileError if the configuration's `key` gives more layers than the file has. Names of
///         layer i's tensors start with `prefix`, i and a dot. This bounds the size of a plan by
///         the size of the file's header.
void check_layer_count(const JsonFile& config, const char* key, int64_t count,
                       const WeightsFile& file, const std::string& prefix);

/// Compares the file's header with the plan. Reads no tensor data.
/// Throws: FileError that names the tensors that are missing, unused, of the wrong shape or not
///         floating point.
void check_header(const WeightsFile& file, const WeightsPlan& plan);

/// Reads the tensors of `plan.wanted` from a file that passed `check_header`. `derived` holds the
/// values of `plan.derived`; the file's must agree to 1e-5 or their dtype's precision.
/// Throws: FileError that names the tied tensors that differ, the derived tensors that do not
///         agree, and the tensors that are not finite.
NamedTensors read_weights(const WeightsFile& file, const WeightsPlan& plan,
                          const NamedTensors& derived = {});

/// Gives the module `weights`, as its parameters' data where they can be, else as copies; names and
/// shapes must match.
void fill(torch::nn::Module& module, NamedTensors weights);

}  // namespace attend::detail
