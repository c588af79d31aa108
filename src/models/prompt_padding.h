#pragma once

#include <torch/torch.h>

#include "attend/functional/mask.h"

namespace attend::detail {

/// The number of padding tokens before each prompt: [B], or undefined without a mask. prompt: [B, P].
/// Throws c10::Error unless the mask describes padding on the left alone, of prompts of a token or more.
torch::Tensor left_padding(const char* who, const AttentionMask& mask, const torch::Tensor& prompt);

}  // namespace attend::detail
