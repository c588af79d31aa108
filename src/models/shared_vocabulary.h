#pragma once

#include <torch/torch.h>

#include "detail/check.h"

namespace attend::detail {

/// One table of embeddings serves both sides where the target's tokens are the first of the source's.
inline void check_shared_vocabulary(const char* name, bool share_embeddings, int64_t src_vocab,
                                    int64_t tgt_vocab) {
  TORCH_CHECK_VALUE(!share_embeddings || tgt_vocab <= src_vocab, name,
                    ": expected tgt_vocab <= src_vocab for share_embeddings, got tgt_vocab ",
                    tgt_vocab, " and src_vocab ", src_vocab);
}

/// table [V, E] -> [rows, E], a view; the table itself where it has no more.
inline torch::Tensor first_rows(const torch::Tensor& table, int64_t rows) {
  return rows == table.size(0) ? table : table.narrow(0, 0, rows);
}

}  // namespace attend::detail
