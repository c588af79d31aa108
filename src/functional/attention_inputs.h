#pragma once

#include <optional>

#include "attend/functional/attention.h"
#include "functional/lowered_mask.h"

namespace attend::functional {

/// One checked attention of [B, H, T, D] queries, as every path takes it.
struct AttentionInputs {
  /// Of 16-bit numbers, but computed in float32: query, key, value and the mask are float32, autocast is
  /// to be left out, and the output is to be rounded to this type.
  std::optional<torch::ScalarType> rounded_to = {};
  torch::Tensor query, key, value;
  LoweredMask mask;
  double scale;
  AttentionParameters parameters;

  int64_t kv_heads() const { return key.size(1); }
  int64_t group() const { return query.size(1) / key.size(1); }
  AttentionShape shape() const {
    return {query.size(0), query.size(1), query.size(2), key.size(2)};
  }
};

/// Whether one of the tensors carries a tangent: no kernel takes them then.
bool has_tangents(const AttentionInputs& in);

/// x [B, H, T, D] y [B, Hkv, D, S]: the query heads of a group are rows of one product, so that
/// nothing is copied for each of them.
torch::Tensor grouped_matmul(const torch::Tensor& x, const torch::Tensor& y);

}  // namespace attend::functional
