#include "attend/functional/loss.h"

#include "detail/check.h"

namespace attend::functional {

torch::Tensor cross_entropy_sum(const torch::Tensor& logits, const torch::Tensor& target,
                                int64_t ignore_id, double label_smoothing) {
  constexpr auto kName = "cross_entropy_sum";
  detail::check_probability(kName, "label_smoothing", label_smoothing);
  detail::check_rank(kName, "logits", logits, 1, 4);
  detail::check_ids(kName, "target", target);
  detail::check_shape(kName, "target", target, logits.sizes().slice(0, logits.dim() - 1));
  return at::cross_entropy_loss(logits.reshape({-1, logits.size(-1)}),
                                target.reshape({-1}).to(torch::kLong), /*weight=*/{},
                                at::Reduction::Sum, ignore_id, label_smoothing);
}

}  // namespace attend::functional
