#pragma once

#include <torch/torch.h>

#include <cstdint>

#include "functional/attention_inputs.h"
#include "functional/lowered_mask.h"

namespace attend::functional {

/// What at::scaled_dot_product_attention chooses to compute with, of at::SDPBackend; the device
/// chooses.
int64_t fused_choice(const AttentionInputs& in, const KernelMask& mask);

/// Attention by at::scaled_dot_product_attention, the same bits, with derivatives of every order:
/// LibTorch's kernels have the first alone, the others are those of the formula. Where LibTorch has
/// no kernel and a gradient is recorded, all of it is the formula. The masks of `in` are not looked
/// at.
///
/// Dropout is the kernel's, and derivatives beyond the first have the same mask.
torch::Tensor fused_attention(const AttentionInputs& in, const KernelMask& mask);

}  // namespace attend::functional
