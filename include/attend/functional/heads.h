#pragma once

// For those who write modules of their own.

#include <torch/torch.h>

#include "attend/export.h"

namespace attend::functional {

/// [B, T, E] -> [B, H, T, E / H], a view. Throws c10::Error unless num_heads divides E.
ATTEND_API torch::Tensor split_heads(const torch::Tensor& x, int64_t num_heads);

/// [B, H, T, D] -> [B, T, H * D], the inverse of `split_heads`.
ATTEND_API torch::Tensor merge_heads(const torch::Tensor& x);

}  // namespace attend::functional
