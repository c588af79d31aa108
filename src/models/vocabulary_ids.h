#pragma once

#include <torch/torch.h>

#include <string_view>

namespace attend::detail {

/// Throws c10::IndexError unless all ids are in [0, vocab_size). Synchronises with their device.
inline void check_vocabulary(std::string_view who, std::string_view what, const torch::Tensor& ids,
                             int64_t vocab_size) {
  if (ids.numel() == 0) return;
  const auto [least_id, most_id] = ids.aminmax();
  const auto least = least_id.item<int64_t>(), most = most_id.item<int64_t>();
  TORCH_CHECK_INDEX(least >= 0 && most < vocab_size, who, ": expected ", what, " in [0, ",
                    vocab_size, "), the vocabulary, got ids from ", least, " to ", most);
}

/// Returns look_up(), which reads the rows `ids` of a table. If it fails because of an id outside
/// the table, the error names the input.
///
/// Note:   on CUDA such an id fails a device-side assertion instead, after which the process cannot
///         use the device. A check in advance would synchronise at every call.
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
