#pragma once

// For those who write modules of their own.

#include <torch/torch.h>

#include "attend/export.h"

namespace attend::functional {

/// The sum over all real target tokens of the label-smoothed cross-entropy, in nats.
///
///   loss = sum_n (1 - eps) * -log p(y_n) + eps / V * sum_v -log p(v)
///
/// Source: Szegedy et al., 2016, arXiv:1512.00567, section 7.
/// Shapes: logits [..., V], target [...] (integers); tokens equal to ignore_id are left out.
/// Throws: c10::Error for shapes, c10::ValueError unless 0 <= label_smoothing < 1.
/// Note:   a sum, not a mean: only the caller knows how many tokens a whole update holds.
ATTEND_API torch::Tensor cross_entropy_sum(const torch::Tensor& logits, const torch::Tensor& target,
                                           int64_t ignore_id, double label_smoothing = 0.0);

/// `cross_entropy_sum` of the logits hidden weight^T + bias, computed for a few hundred rows at a
/// time. The gradients are computed in the same pass, so no [..., V] tensor is kept or recomputed:
/// with a large vocabulary it would be the largest tensor of a training step.
///
/// Shapes: hidden [..., E], weight [V, E], bias [V] or undefined, target [...] (integers).
/// Throws: as `cross_entropy_sum` and `linear`; c10::IndexError for targets outside [0, V).
/// Note:   where gradients are recorded, their products are computed in the forward pass, whether
///         or not backward is called.
/// Note:   for 16-bit inputs, by dtype or by autocast, the loss is float32. On a CPU without AMX
///         all of it is computed in float32, without autocast's rounding.
/// Note:   derivatives beyond the first and forward-mode AD go through `cross_entropy_sum`, with a
///         tensor of all logits. NaN propagates as it does there.
ATTEND_API torch::Tensor linear_cross_entropy_sum(const torch::Tensor& hidden,
                                                  const torch::Tensor& weight,
                                                  const torch::Tensor& bias,
                                                  const torch::Tensor& target, int64_t ignore_id,
                                                  double label_smoothing = 0.0);

}  // namespace attend::functional
