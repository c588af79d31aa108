#pragma once

#include <memory>
#include <string_view>

#include "attend/functional/mask.h"

namespace attend::functional {

/// The sizes of one attention: B, H, T, S.
struct AttentionShape {
  int64_t batch, heads, target, source;

  bool operator==(const AttentionShape&) const = default;
};

/// `mask` for input whose batch axis of size 1 is being added: 3-D parts [H, T, S] -> [1, H, T, S].
AttentionMask with_batch_axis(const AttentionMask& mask);

/// A mask in its cheapest form for given sizes: what limits nothing is gone, and what is left is a
/// band, a bool tensor and a bias, each no larger than it must be, and what is described by less than
/// a number for each query and key.
struct LoweredMask {
  AttentionMask::Band band = {};        // without the bounds that no query reaches
  torch::Tensor allowed = {};           // undefined, or bool, 4-D, broadcastable to [B, H, T, S]
  torch::Tensor bias = {};              // undefined, or floating point, likewise
  torch::Tensor slopes = {};            // undefined, or of ALiBi, of the bias' type [H]
  torch::Tensor relative_bias = {};     // undefined, or of its type, contiguous [H, T + S - 1]
  torch::Tensor query_segments = {};    // undefined, or int64, contiguous [B, T]
  torch::Tensor key_segments = {};      // with them: [B, S]
  std::shared_ptr<MaskMemo> memo = {};  // of AttentionMask::shared_by_layers, or null

  bool is_none() const {
    return band.is_everything() && !allowed.defined() && !bias.defined() && is_dense();
  }

  /// Whether all but the band is tensors.
  bool is_dense() const {
    return !slopes.defined() && !relative_bias.defined() && !query_segments.defined();
  }

  /// The same with the slopes and the relative bias as a part of `bias`, and the segments of
  /// `allowed`. What follows expects it.
  LoweredMask dense(const AttentionShape& shape) const;

  /// The scores with this mask applied. scores: [B, H, T, S].
  torch::Tensor apply(const torch::Tensor& scores) const;

  /// Everything that is not a bias as one bool tensor, undefined if there is none.
  torch::Tensor everything_allowed(int64_t target, int64_t source, torch::Device device) const;

  /// The mask of the queries [target, target + targets) and keys [source, source + sources) alone,
  /// out of [target_length, source_length]: the band becomes a tensor where it is not the same.
  LoweredMask part(const AttentionShape& shape, int64_t target, int64_t targets, int64_t source,
                   int64_t sources, torch::Device device) const;

  /// The mask of the queries `chosen` [t] alone, int64 on the mask's device, in that order.
  LoweredMask rows(const AttentionShape& shape, const torch::Tensor& chosen) const;

  /// Which queries see some key, [B, H, T, 1], and which keys some query sees, [B, H, S, 1]: bool,
  /// broadcastable.
  struct Seen {
    torch::Tensor queries, keys;
  };
  Seen seen(const AttentionShape& shape, torch::Device device) const;

  /// The mask with `count` more keys behind the others, which every query sees.
  LoweredMask with_open_keys(const AttentionShape& shape, int64_t count,
                             torch::Device device) const;
};

/// What at::scaled_dot_product_attention takes: its flag, which it aligns top-left, or a tensor.
struct KernelMask {
  bool is_causal = false;
  torch::Tensor tensor = {};  // undefined, bool (true = may attend), or a bias
};
KernelMask kernel_mask(const LoweredMask& mask, const AttentionShape& shape, torch::Device device);

/// Checks `mask` against the sizes and lowers it to the cheapest dense form that says the same.
/// Throws: c10::Error if a part does not broadcast to [B, H, T, S] or lies on another device.
LoweredMask lower_mask(std::string_view who, const AttentionMask& mask, const AttentionShape& shape,
                       torch::Device device, torch::ScalarType dtype);

/// The same with what is described as it is, for kernels that take that.
LoweredMask described_mask(std::string_view who, const AttentionMask& mask,
                           const AttentionShape& shape, torch::Device device,
                           torch::ScalarType dtype);

}  // namespace attend::functional
