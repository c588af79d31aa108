#pragma once

#include <torch/torch.h>

#include <algorithm>
#include <limits>
#include <string_view>
#include <vector>

namespace attend::detail {

/// Tokens that a decoding method never chooses.
class SuppressedTokens {
 public:
  /// Throws c10::ValueError for a negative id.
  SuppressedTokens(std::string_view who, const std::vector<int64_t>& ids, torch::Device device)
      : who_(who) {
    if (ids.empty()) return;
    const auto [least, largest] = std::ranges::minmax(ids);
    TORCH_CHECK_VALUE(least >= 0, who, ": expected suppressed_tokens >= 0, got ", least);
    largest_ = largest;
    ids_ = torch::tensor(ids, torch::kLong).to(device);
  }

  /// Sets their logits to -infinity, in place. logits: [N, V].
  /// Throws: c10::ValueError for an id that is not below V.
  void apply(torch::Tensor& logits) const {
    if (!ids_.defined()) return;
    TORCH_CHECK_VALUE(largest_ < logits.size(1), who_, ": expected suppressed_tokens below the ",
                      logits.size(1), " tokens of the model, got ", largest_);
    logits.index_fill_(1, ids_, -std::numeric_limits<float>::infinity());
  }

 private:
  std::string_view who_;
  torch::Tensor ids_;  // undefined: none
  int64_t largest_ = -1;
};

}  // namespace attend::detail
