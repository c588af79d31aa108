#pragma once

#include <torch/torch.h>

namespace attend::functional {

/// Whether `x`, floating point on the CPU with up to 4 axes, holds neither NaN nor an infinity.
/// Nothing is recorded or allocated where the last axis is contiguous.
bool all_finite(const torch::Tensor& x);

}  // namespace attend::functional
