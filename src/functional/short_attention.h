#pragma once

#include <torch/torch.h>

namespace attend::functional {

/// Whether these are short enough for the kernel of short sequences, and not empty.
bool is_short_attention(const torch::Tensor& query, const torch::Tensor& key,
                        const torch::Tensor& value);

}  // namespace attend::functional
