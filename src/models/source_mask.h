#pragma once

#include <torch/torch.h>

#include "attend/functional/mask.h"

namespace attend::detail {

/// `mask`, or one made from the pad id if there is none; no mask if nothing is padded, where that
/// is known without waiting for a device. ids: [B, S].
AttentionMask mask_or_padding(const AttentionMask& mask, const torch::Tensor& ids, int64_t pad_id);

/// `mask` over the memory [B, S, E] as one tensor [B, 1, 1, S] that decoder states can select rows
/// of; undefined for no mask. Throws c10::Error if the mask depends on the query.
torch::Tensor memory_mask_row(const char* who, const AttentionMask& mask,
                              const torch::Tensor& memory);

}  // namespace attend::detail
