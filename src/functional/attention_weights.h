#pragma once

#include "functional/attention_inputs.h"

namespace attend::functional {

/// Softmax over the last axis; rows of -infinity alone become zeros, forward and backward.
torch::Tensor softmax_or_zero(const torch::Tensor& scores);

/// The same by operations on elements. LibTorch's softmax has no derivative in forward mode of its gradient, these
/// operations do.
torch::Tensor softmax_by_elements(const torch::Tensor& scores);

/// `x` in float32 unless it is wider.
torch::Tensor at_least_float32(const torch::Tensor& x);

/// All weights [B, H, T, S] from the scores as a whole: what the fused kernels cannot do, and their
/// reference.
torch::Tensor all_weights(const AttentionInputs& in);

/// The same with `softmax_by_elements`.
torch::Tensor differentiable_weights(const AttentionInputs& in);

/// Attention by the formula, in operations that can be differentiated any number of times and forwards: the
/// reference of the kernels, whose derivatives it gives where they have none. Shapes as in AttentionInputs.
AttentionOutput attention_formula(const torch::Tensor& query, const torch::Tensor& key,
                                  const torch::Tensor& value, const LoweredMask& mask,
                                  double scale);

/// The weights that `request` names, [B, h, t, S] or their mean [B, t, S]. Scores of a few queries
/// exist at a time, so that a mean never holds a [B, H, T, S] tensor; nor does its gradient, which
/// computes them again.
torch::Tensor requested_weights(const AttentionInputs& in, const WeightsRequest& request);

/// The same out of all weights.
torch::Tensor requested_of(const torch::Tensor& all, const WeightsRequest& request);

/// Throws c10::ValueError unless the heads and queries that `request` names exist.
void check_request(const char* who, const WeightsRequest& request, int64_t heads, int64_t target);

}  // namespace attend::functional
