#include "models/source_mask.h"

#include "functional/lowered_mask.h"

namespace attend::detail {

AttentionMask mask_or_padding(const AttentionMask& mask, const torch::Tensor& ids, int64_t pad_id) {
  if (!mask.is_none()) return mask;
  const auto real = functional::padding_mask(ids, pad_id);
  if (ids.device().is_cpu() && real.all().item<bool>()) return {};
  return AttentionMask::padding(real);
}

torch::Tensor memory_mask_row(const char* who, const AttentionMask& mask,
                              const torch::Tensor& memory) {
  const auto batch = memory.size(0), length = memory.size(1);
  const auto lowered = functional::lower_mask(who, mask, {batch, 1, 1, length}, memory.device(),
                                              memory.scalar_type());
  const auto row = functional::kernel_mask(lowered, {batch, 1, 1, length}, memory.device()).tensor;
  return row.defined() ? row.expand({batch, 1, 1, length}) : torch::Tensor();
}

}  // namespace attend::detail
