#include "data/length_batches.h"

#include <algorithm>

namespace attend::detail {

std::vector<std::vector<size_t>> cut_into_batches(
    const std::vector<size_t>& order, const std::function<size_t(size_t row)>& length_of,
    int64_t max_tokens, size_t max_rows) {
  std::vector<std::vector<size_t>> batches;
  size_t longest = 0;
  for (const auto row : order) {
    const auto length = length_of(row);
    longest = std::max(longest, length);
    if (batches.empty() || batches.back().size() >= max_rows ||
        longest * (batches.back().size() + 1) > static_cast<size_t>(max_tokens)) {
      batches.emplace_back();
      longest = length;
    }
    batches.back().push_back(row);
  }
  return batches;
}

torch::Tensor padded(const std::vector<std::span<const int64_t>>& rows, int64_t pad_id) {
  size_t longest = 0;
  for (const auto& row : rows) longest = std::max(longest, row.size());
  auto result = torch::full({static_cast<int64_t>(rows.size()), static_cast<int64_t>(longest)},
                            pad_id, torch::TensorOptions(torch::kCPU).dtype(torch::kLong));
  auto* out = result.mutable_data_ptr<int64_t>();
  for (size_t i = 0; i < rows.size(); ++i) std::ranges::copy(rows[i], out + i * longest);
  return result;
}

}  // namespace attend::detail
