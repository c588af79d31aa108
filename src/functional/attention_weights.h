#pragma once

#include "functional/attention_inputs.h"

namespace attend::functional {

/// The weights that `request` names, [B, h, t, S] or their mean [B, t, S]. Scores of a few queries
/// exist at a time, so that a mean never holds a [B, H, T, S] tensor; nor does its gradient, which
/// computes them again.
torch::Tensor requested_weights(const AttentionInputs& in, const WeightsRequest& request);

/// The same out of all weights.
torch::Tensor requested_of(const torch::Tensor& all, const WeightsRequest& request);

/// Throws c10::ValueError unless the heads and queries that `request` names exist.
void check_request(const char* who, const WeightsRequest& request, int64_t heads, int64_t target);

}  // namespace attend::functional
