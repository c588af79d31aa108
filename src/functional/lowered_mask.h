#pragma once

#include <string_view>

#include "attend/functional/mask.h"

namespace attend::functional {

/// The sizes of one attention: B, H, T, S.
struct AttentionShape {
  int64_t batch, heads, target, source;
};

/// `mask` for input whose batch axis of size 1 is being added: 3-D parts [H, T, S] -> [1, H, T, S].
AttentionMask with_batch_axis(const AttentionMask& mask);

/// A mask as a kernel takes it.
struct LoweredMask {
  bool is_causal = false;  // only where T = S, so that top-left and bottom-right are the same
  torch::Tensor tensor;    // undefined, bool, or floating point in `dtype`; 4-D, broadcastable

  /// The scores with this mask applied. scores: [B, H, T, S].
  torch::Tensor apply(const torch::Tensor& scores) const;
};

/// Checks `mask` against the sizes and lowers it to the cheapest form that says the same.
/// Throws: c10::Error if a part does not broadcast to [B, H, T, S] or lies on another device.
LoweredMask lower_mask(std::string_view who, const AttentionMask& mask, const AttentionShape& shape,
                       torch::Device device, torch::ScalarType dtype);

}  // namespace attend::functional
