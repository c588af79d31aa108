#pragma once

#include <string>
#include <vector>

#include "checkpoint/weights.h"

namespace attend::detail {

/// A tensor of another library and the attend tensors that it holds.
struct WeightMapping {
  std::string theirs;
  std::vector<std::string> ours;  // concatenated along the output dimension
  bool is_transposed = false;
};

/// The mapping that renames nothing.
std::vector<WeightMapping> unchanged_names(const NamedShapes& layout);

/// Converts attend's tensors, or their shapes, to the other library's.
NamedTensors to_theirs(const NamedTensors& ours, const std::vector<WeightMapping>& mappings);
NamedShapes to_theirs(const NamedShapes& ours, const std::vector<WeightMapping>& mappings);

/// The inverse of `to_theirs`; the shapes must be those that `to_theirs` gives.
NamedTensors to_ours(const NamedTensors& theirs, const std::vector<WeightMapping>& mappings);

}  // namespace attend::detail
