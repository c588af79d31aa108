#pragma once

#include <torch/torch.h>

#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace attend::detail {

using NamedTensors = std::map<std::string, torch::Tensor>;

/// Names that stand for one tensor: a file may hold any of them, equal to each other. The first is
/// the module's own name.
using TiedNames = std::vector<std::vector<std::string>>;

/// Every parameter and buffer of `module` by its name, detached.
NamedTensors named_weights(const torch::nn::Module& module);

/// Copies `file` into `module`. Nothing is copied unless everything fits. `derived` holds tensors
/// that a file may have but the module does not keep; they must agree to 1e-5.
/// Throws: FileError naming `path` and every tensor that is missing, unused, of another shape or
///         not equal to its twin.
void load_weights(const std::filesystem::path& path, const NamedTensors& file,
                  torch::nn::Module& module, const TiedNames& tied, const NamedTensors& derived);

}  // namespace attend::detail
