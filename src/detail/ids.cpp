#include "detail/ids.h"

namespace attend::detail {

std::vector<int64_t> values_of(const torch::Tensor& ids) {
  if (!ids.defined()) return {};
  const auto values = ids.to(torch::kCPU, torch::kLong).contiguous();
  const auto* data = values.const_data_ptr<int64_t>();
  return {data, data + values.numel()};
}

}  // namespace attend::detail
