#pragma once

#include "functional/attention_inputs.h"

namespace attend::functional {

/// Attention by its definition, operation by operation, with all [B, H, T, S] scores in memory:
///
///   weights = softmax(soft_cap(query key^T * scale) + mask),   output = dropout(weights) value
///
/// The specification of every other backend, the only one with everything, and what the others take
/// their derivatives beyond the first from. It has derivatives of every order and in forward mode.
AttentionOutput attention_formula(const AttentionInputs& in);

/// The weights of it, before dropout, [B, H, T, S] in float32 or wider.
torch::Tensor formula_weights(const AttentionInputs& in);

/// x [B, H, T, D] y [B, Hkv, D, S]: the query heads of a group are rows of one product, so that
/// nothing is copied for each of them.
torch::Tensor grouped_matmul(const torch::Tensor& x, const torch::Tensor& y);

/// `x` in float32 unless it is wider.
torch::Tensor at_least_float32(const torch::Tensor& x);

}  // namespace attend::functional
