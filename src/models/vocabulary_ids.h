#pragma once

#include <torch/torch.h>

#include <string_view>

namespace attend::detail {

/// Throws c10::IndexError unless all ids are those of a vocabulary. Waits for their device.
inline void check_vocabulary(std::string_view who, std::string_view what, const torch::Tensor& ids,
                             int64_t vocab_size) {
  if (ids.numel() == 0) return;
  const auto [least_id, most_id] = ids.aminmax();
  const auto least = least_id.item<int64_t>(), most = most_id.item<int64_t>();
  TORCH_CHECK_INDEX(least >= 0 && most < vocab_size, who, ": expected ", what, " in [0, ",
                    vocab_size, "), the vocabulary, got ids from ", least, " to ", most);
}

/// What look_up() returns, which reads the rows `ids` of a table. Where that fails since some are no
/// rows of it, says which input they belong to.
///
/// Note: not on CUDA, where such an id ends the process's use of the device; to look at the ids first
///       would be to wait for it at every call.
template <typename LookUp>
auto look_up_ids(std::string_view who, std::string_view what, const torch::Tensor& ids,
                 int64_t vocab_size, const LookUp& look_up) {
  try {
    return look_up();
  } catch (const c10::IndexError&) {
    check_vocabulary(who, what, ids, vocab_size);
    throw;
  }
}

}  // namespace attend::detail
