#include "decoding/step_tokens.h"

#include <algorithm>
#include <bit>
#include <iterator>
#include <limits>

namespace attend::detail {

void check_bad_words(const char* who, const std::vector<int64_t>& ids) {
  for (const auto id : ids) {
    TORCH_CHECK_VALUE(id >= 0, who, ": expected bad_words_ids >= 0, got ", id);
  }
}

torch::Tensor never_chosen(const SpecialTokenIds& special, const std::vector<int64_t>& others,
                           int64_t vocab, torch::Device device) {
  auto all = others;
  all.push_back(special.pad_id);
  all.push_back(special.start_id);
  std::vector<int64_t> ids;
  std::ranges::copy_if(all, std::back_inserter(ids),
                       [&](int64_t id) { return id >= 0 && id < vocab && id != special.eos_id; });
  return torch::tensor(ids, torch::kLong).to(device);
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
