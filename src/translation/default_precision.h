#pragma once

#include <torch/torch.h>

#include <optional>

#include "attend/inference/prepared_model.h"

namespace attend::detail {

/// What a model is translated with where nobody chose: float32 on the CPU, prepared, which is the fastest
/// with the same translations; nothing, as the module, on other devices and for models that cannot be
/// prepared (`inference_obstacle`).
inline std::optional<WeightPrecision> default_precision(const IncrementalModel& model,
                                                        const torch::Device& device) {
  if (!device.is_cpu() || !inference_obstacle(model).empty()) return std::nullopt;
  return WeightPrecision::kFloat32;
}

}  // namespace attend::detail
