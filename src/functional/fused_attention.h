#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <vector>

#include "functional/attention_inputs.h"
#include "functional/lowered_mask.h"

namespace attend::functional {

/// What at::scaled_dot_product_attention chooses to compute with, of at::SDPBackend; the device
/// chooses.
int64_t fused_choice(const AttentionInputs& in, const KernelMask& mask);

/// Whether it is LibTorch's blockwise kernel.
bool is_flash(int64_t choice);

/// Attention by at::scaled_dot_product_attention, the same bits, with derivatives of every order:
/// LibTorch's kernels have the first alone, the others are those of the formula. Where LibTorch has
/// no kernel and a gradient is recorded, all of it is the formula. The masks of `in` are not looked
/// at.
///
/// On the CPU: as many heads of queries as of keys, and no dropout. On other devices dropout is the
/// kernel's, and derivatives beyond the first have the same mask.
torch::Tensor fused_attention(const AttentionInputs& in, const KernelMask& mask);

/// The keys [begin, end) that a sentence has, in a batch that is padded on the right or on the
/// left.
struct KeyRange {
  int64_t begin, end;
};

/// Causal attention of sentences on the CPU: for each the square of its own keys by the kernel's
/// causal flag, the queries behind it without a mask, and nothing else.
torch::Tensor fused_attention_by_sentences(const AttentionInputs& in,
                                           const std::vector<KeyRange>& sentences);

}  // namespace attend::functional
