#pragma once

#include <cstdint>

namespace attend::kernels {

/// The label-smoothed cross-entropy of rows [first, last) of `logits` [rows, classes], contiguous,
/// each against its class in `target`; rows whose target is ignore_id count nothing. x is a row of
/// logits and, unless it is null, `bias` [classes], which the logits then have in them afterwards:
///
///   losses[n] = log sum_v exp(x_v) - (1 - eps) x_y - eps / V sum_v x_v
///
/// If `gradient`, each row of logits is replaced by the gradient of its loss, softmax(x) - eps / V,
/// less 1 - eps at y. Of a logit that is NaN or infinity both are NaN. Three passes over a row that
/// stays in the nearest caches.
template <typename T>
void cross_entropy(T* logits, const T* bias, const int64_t* target, T* losses, int64_t classes,
                   int64_t ignore_id, T label_smoothing, bool gradient, int64_t first,
                   int64_t last);

}  // namespace attend::kernels
