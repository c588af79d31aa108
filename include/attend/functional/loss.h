#pragma once

#include <torch/torch.h>

#include "attend/export.h"

namespace attend::functional {

/// The sum over all real target tokens of the label-smoothed cross-entropy, in nats.
///
///   loss = sum_n (1 - eps) * -log p(y_n) + eps / V * sum_v -log p(v)
///
/// Source: Szegedy et al., 2016, arXiv:1512.00567, section 7.
/// Shapes: logits [..., V], target [...] (integers); tokens equal to ignore_id count nothing.
/// Throws: c10::Error for shapes, c10::ValueError unless 0 <= label_smoothing < 1.
/// Note:   a sum, not a mean: only the caller knows how many tokens a whole update holds.
ATTEND_API torch::Tensor cross_entropy_sum(const torch::Tensor& logits, const torch::Tensor& target,
                                           int64_t ignore_id, double label_smoothing = 0.0);

/// `cross_entropy_sum` of the logits hidden weight^T + bias, of which only a few hundred rows exist
/// at a time. The gradients are made in the same pass over them, so that no [..., V] tensor is
/// kept, nor made again: with a large vocabulary it would be the largest of all.
///
/// Shapes: hidden [..., E], weight [V, E], bias [V] or undefined, target [...] (integers).
/// Throws: as `cross_entropy_sum` and `linear`; c10::IndexError for targets outside [0, V).
/// Note:   costs the gradients' products where one is recorded, whether or not backward is called.
///         Of 16-bit numbers, by dtype or by autocast, the loss is float32. On a CPU without AMX so
///         is all that leads to it, and what autocast would round is not rounded.
/// Note:   derivatives beyond the first, and tangents, are those of `cross_entropy_sum` of all
///         logits, which then exist. NaN shows as it does there.
ATTEND_API torch::Tensor linear_cross_entropy_sum(const torch::Tensor& hidden,
                                                  const torch::Tensor& weight,
                                                  const torch::Tensor& bias,
                                                  const torch::Tensor& target, int64_t ignore_id,
                                                  double label_smoothing = 0.0);

}  // namespace attend::functional
