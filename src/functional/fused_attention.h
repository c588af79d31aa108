#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "functional/attention_inputs.h"
#include "functional/lowered_mask.h"

namespace attend::functional {

/// What at::scaled_dot_product_attention chooses to compute with, of at::SDPBackend; its choice is made by the device.
int64_t fused_backend(const AttentionInputs& in, const KernelMask& mask);

/// The keys [begin, end) that a sentence has, in a batch that is padded on the right or on the left.
struct KeyRange {
  int64_t begin, end;
};

/// The keys of each sentence, where the mask of these inputs is causal, of as many queries as keys, and each
/// sentence's keys are neighbours; nothing where it is another one, where the sequences are too short for that to matter, or
/// where LibTorch has no kernel for them on the CPU.
std::optional<std::vector<KeyRange>> causal_sentences(const AttentionInputs& in);

/// Attention by at::scaled_dot_product_attention, the same bits, with as many heads of queries as of keys or
/// `grouped`. Where that is LibTorch's kernel for the CPU, whose gradient LibTorch cannot differentiate, the second
/// derivatives are those of the formula. No input may carry a tangent.
///
/// Shapes: query [B, H, T, D], key [B, H, S, D], value [B, H, S, Dv] -> [B, H, T, Dv].
torch::Tensor fused_attention(const torch::Tensor& query, const torch::Tensor& key,
                              const torch::Tensor& value, const KernelMask& mask, double dropout_p,
                              double scale, bool grouped);

/// The same of `causal_sentences`: for each sentence the square of its own keys by the kernel's causal flag, the
/// queries behind it without a mask, and nothing else.
torch::Tensor fused_attention_by_sentences(const AttentionInputs& in,
                                           const std::vector<KeyRange>& sentences);

}  // namespace attend::functional
