#include "checkpoint/weight_mapping.h"

#include <algorithm>
#include <utility>

namespace attend::detail {

std::vector<WeightMapping> unchanged_names(const NamedShapes& layout) {
  std::vector<WeightMapping> all;
  for (const auto& [name, shape] : layout) all.push_back({name, {name}});
  return all;
}

NamedTensors to_theirs(const NamedTensors& ours, const std::vector<WeightMapping>& mappings) {
  NamedTensors theirs;
  for (const auto& mapping : mappings) {
    std::vector<torch::Tensor> parts;
    for (const auto& name : mapping.ours) parts.push_back(ours.at(name));
    const auto joined = parts.size() == 1 ? parts.front() : torch::cat(parts, 0);
    theirs[mapping.theirs] = mapping.is_transposed ? joined.t().contiguous() : joined;
  }
  return theirs;
}

NamedShapes to_theirs(const NamedShapes& ours, const std::vector<WeightMapping>& mappings) {
  NamedShapes theirs;
  for (const auto& mapping : mappings) {
    auto shape = ours.at(mapping.ours.front());
    shape[0] *= static_cast<int64_t>(mapping.ours.size());
    if (mapping.is_transposed) std::ranges::reverse(shape);
    theirs[mapping.theirs] = std::move(shape);
  }
  return theirs;
}

NamedTensors to_ours(const NamedTensors& theirs, const std::vector<WeightMapping>& mappings) {
  NamedTensors ours;
  for (const auto& mapping : mappings) {
    const auto& tensor = theirs.at(mapping.theirs);
    const auto pieces = (mapping.is_transposed ? tensor.t() : tensor)
                            .chunk(static_cast<int64_t>(mapping.ours.size()), 0);
    for (size_t i = 0; i < pieces.size(); ++i) ours[mapping.ours[i]] = pieces[i];
  }
  return ours;
}

}  // namespace attend::detail
