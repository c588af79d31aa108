#pragma once

#include <torch/torch.h>

#include <cstddef>
#include <cstdint>
#include <memory>

#include "attend/inference/prepared_model.h"

namespace attend::detail {

/// Memory for a model's packed weights, in huge pages where the system grants them. A step with few rows
/// does little but read all weights, and with pages of 4 KB the processor's table of pages limits it.
class WeightMemory {
 public:
  /// [bytes] of kByte, aligned to 64 bytes. It lives as long as the tensor.
  torch::Tensor take(int64_t bytes);

 private:
  std::shared_ptr<std::byte> chunk_;
  int64_t used_ = 0, size_ = 0;
};

/// How a model's weights are packed, and where to.
struct Packing {
  WeightPrecision precision;
  WeightMemory& memory;
};

}  // namespace attend::detail
