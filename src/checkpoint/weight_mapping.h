#pragma once

#include <string>
#include <vector>

#include "checkpoint/weights.h"

namespace attend::detail {

/// One tensor of another library's for one or several of ours.
struct WeightMapping {
  std::string theirs;
  std::vector<std::string> ours;  // side by side along the outputs
  bool is_transposed = false;
};

/// Each tensor under our own name.
std::vector<WeightMapping> unchanged_names(const NamedShapes& layout);

/// Our tensors, or their shapes, as the others have them.
NamedTensors to_theirs(const NamedTensors& ours, const std::vector<WeightMapping>& mappings);
NamedShapes to_theirs(const NamedShapes& ours, const std::vector<WeightMapping>& mappings);

/// Their tensors, which have the shapes of `to_theirs`, as ours.
NamedTensors to_ours(const NamedTensors& theirs, const std::vector<WeightMapping>& mappings);

}  // namespace attend::detail
