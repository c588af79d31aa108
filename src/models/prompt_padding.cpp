#include "models/prompt_padding.h"

#include "functional/lowered_mask.h"

namespace attend::detail {

torch::Tensor left_padding(const char* who, const AttentionMask& mask,
                           const torch::Tensor& prompt) {
  if (mask.is_none()) return {};
  const auto batch = prompt.size(0), length = prompt.size(1);
  const auto lowered =
      functional::lower_mask(who, mask, {batch, 1, 1, length}, prompt.device(), torch::kFloat);
  const auto is_tokens = lowered.band.is_everything() && !lowered.bias.defined();
  TORCH_CHECK(is_tokens, who, ": expected a prompt's mask to be of padding alone, got another");
  if (!lowered.allowed.defined()) return {};
  const auto real = lowered.allowed.expand({batch, 1, 1, length}).view({batch, length});
  const auto count = real.sum(1);  // [B]
  const auto keys = torch::arange(length, count.options());
  const auto padding = length - count;
  TORCH_CHECK(real.eq(keys.ge(padding.unsqueeze(1)))
                  .logical_and(count.gt(0).unsqueeze(1))
                  .all()
                  .item<bool>(),
              who,
              ": expected prompts of at least 1 token, padded on the left, got padding elsewhere");
  return padding;
}

}  // namespace attend::detail
