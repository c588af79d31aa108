#pragma once

#include <torch/torch.h>

#include <algorithm>

#include "detail/check.h"

namespace attend::detail {

/// Checks the sizes for a shared embedding table, in which the target's tokens come first.
inline void check_shared_vocabulary(const char* name, bool share_embeddings, int64_t src_vocab,
                                    int64_t tgt_vocab) {
  TORCH_CHECK_VALUE(!share_embeddings || tgt_vocab <= src_vocab, name,
                    ": expected tgt_vocab <= src_vocab for share_embeddings, got tgt_vocab ",
                    tgt_vocab, " and src_vocab ", src_vocab);
}

/// Checks `options.eos_id()`, `pad_id()` and `start_id()`. eos_id is predicted, so it must be a
/// target token; pad_id and start_id are only read, so they may be any row of a shared table.
template <typename Options>
void check_special_ids(const char* name, const Options& options) {
  const auto check_id = [&](const char* what, int64_t id, int64_t vocab) {
    TORCH_CHECK_VALUE(id >= 0 && id < vocab, name, ": expected ", what, " in [0, ", vocab,
                      "), got ", id);
  };
  const auto common = std::min(options.src_vocab(), options.tgt_vocab());
  const bool shares = options.share_embeddings();
  check_id("eos_id", options.eos_id(), common);
  check_id("pad_id", options.pad_id(), shares ? options.src_vocab() : common);
  check_id("start_id", options.start_id(), shares ? options.src_vocab() : options.tgt_vocab());
  TORCH_CHECK_VALUE(options.eos_id() != options.pad_id(), name,
                    ": expected eos_id and pad_id to differ, got ", options.eos_id(), " for both");
}

/// Checks that decoder inputs are target tokens, start_id or pad_id. A shared table has more rows,
/// so the lookup alone would not fail. Skipped on a GPU, where the check would synchronise. Throws
/// c10::IndexError.
template <typename Options>
void check_target_ids(const char* name, const Options& options, const torch::Tensor& target) {
  if (!target.is_cpu() || !options.share_embeddings() ||
      options.tgt_vocab() == options.src_vocab()) {
    return;
  }
  const auto ids = target.to(torch::kLong).contiguous();
  const auto* data = ids.const_data_ptr<int64_t>();
  for (int64_t i = 0; i < ids.numel(); ++i) {
    TORCH_CHECK_INDEX(data[i] < options.tgt_vocab() || data[i] == options.pad_id() ||
                          data[i] == options.start_id(),
                      name, ": expected target in [0, ", options.tgt_vocab(),
                      "), the vocabulary, or start_id or pad_id, got ", data[i]);
  }
}

/// The first rows of a table: [V, E] -> [rows, E], a view, or the table itself if rows = V.
inline torch::Tensor first_rows(const torch::Tensor& table, int64_t rows) {
  return rows == table.size(0) ? table : table.narrow(0, 0, rows);
}

}  // namespace attend::detail
