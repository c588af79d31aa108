#pragma once

#include <optional>

#include "attend/functional/attention.h"
#include "functional/lowered_mask.h"
#include "functional/products.h"

namespace attend::functional {

/// One checked attention of [B, H, T, D] queries, as every backend takes it.
struct AttentionInputs {
  /// Set for 16-bit numbers that are computed in float32: query, key and value are float32, unless
  /// they `is_bfloat16`, and the mask is; autocast is left out, and the output is rounded to this type.
  std::optional<torch::ScalarType> rounded_to = {};
  /// Whether query, key and value are bfloat16 still.
  bool is_bfloat16 = false;
  torch::Tensor query, key, value;
  LoweredMask mask;
  double scale;
  AttentionParameters parameters = {};
  /// If defined, what dropout multiplies the weights with, drawn already, in place of
  /// parameters.dropout_p: [B, H, T, S].
  torch::Tensor kept = {};

  int64_t kv_heads() const { return key.size(1); }
  int64_t group() const { return query.size(1) / key.size(1); }
  AttentionShape shape() const {
    return {query.size(0), query.size(1), query.size(2), key.size(2)};
  }

  /// The dtype that LibTorch's operations compute it in: autocast's, where that is on.
  torch::ScalarType computed_type() const {
    return rounded_to ? query.scalar_type() : product_type(query);
  }

  /// The dtype of all but query, key and value.
  torch::ScalarType number_type() const {
    return is_bfloat16 ? torch::kFloat : query.scalar_type();
  }

  /// Whether gradients of the query, the keys, the values, the bias or the sinks are recorded.
  bool records_gradients() const {
    return torch::GradMode::is_enabled() &&
           (query.requires_grad() || key.requires_grad() || value.requires_grad() ||
            (mask.bias.defined() && mask.bias.requires_grad()) ||
            (mask.relative_bias.defined() && mask.relative_bias.requires_grad()) ||
            (parameters.sinks.defined() && parameters.sinks.requires_grad()));
  }
};

inline void check_floating_point(const char* who, const torch::Tensor& query) {
  TORCH_CHECK(query.is_floating_point(), who, ": expected a floating-point query, got dtype ",
              query.scalar_type());
}

}  // namespace attend::functional
