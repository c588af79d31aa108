#pragma once

#include "functional/attention_inputs.h"

namespace attend::functional {

/// The weights that `request` names, [B, h, t, S] or their mean [B, t, S], for backends that have none
/// of their own. Scores of a few queries
/// exist at a time, so that a mean never holds a [B, H, T, S] tensor; nor does its gradient, which
/// computes them again.
torch::Tensor requested_weights(const AttentionInputs& in, const WeightsRequest& request);

/// The same out of all weights.
torch::Tensor requested_of(const torch::Tensor& all, const WeightsRequest& request);

/// Throws c10::ValueError unless the heads and queries that `request` names exist, and, unless
/// `has_scores`, if it is one for other values than weights.
void check_request(const char* who, const WeightsRequest& request, int64_t heads, int64_t target,
                   bool has_scores = false);

/// Choices of `size` things, which may count from the end, as indices: int64.
torch::Tensor chosen_indices(const std::vector<int64_t>& choices, int64_t size,
                             torch::Device device);

}  // namespace attend::functional
