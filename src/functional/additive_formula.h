#pragma once

#include <optional>

#include "attend/functional/attention.h"
#include "functional/lowered_mask.h"

namespace attend::functional {

/// One checked additive attention with heads.
struct AdditiveInputs {
  torch::Tensor query, key, value;  // [B, H, T, A], [B, H, S, A], [B, H, S, Dv]
  torch::Tensor vector;             // [H, A]
  LoweredMask mask;
  AdditiveAttentionParameters parameters = {};
  // Of the dropout, where a kernel may draw it; else the device's generator does. Drawn by who makes this.
  std::optional<uint64_t> seed = std::nullopt;

  AttentionShape shape() const {
    return {query.size(0), query.size(1), query.size(2), key.size(2)};
  }
};

struct AdditiveOutput {
  torch::Tensor output;  // [B, H, T, Dv]
  torch::Tensor scores;  // [B, H, T, S], float32 or wider, -infinity where a key is hidden
};

/// Additive attention by its definition, operation by operation, with f of all pairs in memory,
/// [B, H, T, S, A]. The specification of the kernel, and what its derivatives beyond the first are
/// taken from: it has those of every order and in forward mode.
AdditiveOutput additive_formula(const AdditiveInputs& in);

}  // namespace attend::functional
