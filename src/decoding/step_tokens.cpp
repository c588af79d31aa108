#include "decoding/step_tokens.h"

#include <bit>
#include <limits>

namespace attend::detail {

std::vector<int64_t> never_chosen(const SpecialTokenIds& special) {
  std::vector<int64_t> ids;
  if (special.pad_id >= 0) ids.push_back(special.pad_id);
  if (special.start_id != special.eos_id && special.start_id != special.pad_id) {
    ids.push_back(special.start_id);
  }
  return ids;
}

void forbid(torch::Tensor& logits, const torch::Tensor& ids) {
  if (ids.numel() > 0) logits.index_fill_(1, ids, -std::numeric_limits<double>::infinity());
}

StepTokens::StepTokens(const torch::Tensor& numbers, const torch::Tensor& tokens)
    : columns_(numbers.size(1)),
      packed_(torch::cat({numbers.contiguous().view(torch::kInt), tokens.to(torch::kInt)}, 1)
                  .to(torch::kCPU)),
      data_(packed_.const_data_ptr<int32_t>()) {}

double StepTokens::number(int64_t row, int64_t column) const {
  return std::bit_cast<float>(data_[row * 2 * columns_ + column]);
}

int64_t StepTokens::token(int64_t row, int64_t column) const {
  return data_[row * 2 * columns_ + columns_ + column];
}

}  // namespace attend::detail
