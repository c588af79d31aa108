#pragma once

#include "attend/functional/attention.h"

namespace attend::functional {

/// `scaled_dot_product_attention` whose last `open_keys` keys are seen by every query; the mask is
/// one for the other keys alone. Of the keys that a module brings itself, such as torch::nn's
/// bias_k.
AttentionOutput attention_with_open_keys(const torch::Tensor& query, const torch::Tensor& key,
                                         const torch::Tensor& value, const AttentionMask& mask,
                                         const WeightsRequest& weights,
                                         const AttentionParameters& parameters, int64_t open_keys);

}  // namespace attend::functional
