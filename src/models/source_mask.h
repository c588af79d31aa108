#pragma once

#include <torch/torch.h>

#include "attend/functional/mask.h"

namespace attend::detail {

/// `mask`, or a padding mask from pad_id if `mask` is empty. On the CPU, a batch without padding
/// gets no mask; on a GPU that check would synchronise. ids: [B, S].
AttentionMask mask_or_padding(const AttentionMask& mask, const torch::Tensor& ids, int64_t pad_id);

/// Lowers `mask` over the memory [B, S, E] to one tensor [B, 1, 1, S], whose rows a decoder state
/// can select; undefined if there is no mask. Throws c10::Error if the mask depends on the query.
torch::Tensor memory_mask_row(const char* who, const AttentionMask& mask,
                              const torch::Tensor& memory);

}  // namespace attend::detail
