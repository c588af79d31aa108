#pragma once

#include <torch/torch.h>

#include "functional/lowered_mask.h"

namespace attend::functional {

/// Whether these are short enough, and not nothing, for `short_attention` to be faster on the CPU than
/// LibTorch's kernel.
bool is_short_attention(const torch::Tensor& query, const torch::Tensor& key,
                        const torch::Tensor& value);

/// Whether `short_attention` takes this attention: a short one on the CPU in float32 or float64.
bool short_attention_takes(const torch::Tensor& query, const torch::Tensor& key,
                           const torch::Tensor& value, const LoweredMask& mask, double dropout_p);

/// Scaled dot-product attention of short sequences on the CPU. A head's [T, S] scores are held as a
/// whole: nothing is packed, and no general matrix product is called for each of B * H small ones.
///
/// Shapes: query [B, H, T, D], key [B, Hkv, S, D], value [B, Hkv, S, Dv] -> output [B, H, T, Dv],
///         weights [B, H, T, S] if wanted, both differentiable, any number of times: beyond the first by
///         `attention_formula`. No input may carry a tangent.
struct ShortAttentionOutput {
  torch::Tensor output, weights;
};
ShortAttentionOutput short_attention(const torch::Tensor& query, const torch::Tensor& key,
                                     const torch::Tensor& value, const LoweredMask& mask,
                                     double scale, bool want_weights);

}  // namespace attend::functional
