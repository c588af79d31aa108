#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <functional>
#include <limits>
#include <span>
#include <vector>

namespace attend::detail {

/// Cuts an order of rows, usually sorted by length, into batches of at most `max_tokens` tokens,
/// padding counted, and at most `max_rows` rows. A longer row has a batch of its own.
std::vector<std::vector<size_t>> cut_into_batches(
    const std::vector<size_t>& order, const std::function<size_t(size_t row)>& length_of,
    int64_t max_tokens, size_t max_rows = std::numeric_limits<size_t>::max());

/// Rows of ids as a tensor on the CPU, padded at the end.
torch::Tensor padded(const std::vector<std::span<const int64_t>>& rows, int64_t pad_id);

}  // namespace attend::detail
