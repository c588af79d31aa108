#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <vector>

#include "kernels/cpu/cached_attention.h"

namespace attend::detail {

/// The keys and values of all layers of a decoder, a slot for each token that was fed. Slots are in
/// blocks that never move, and hypotheses refer to them by number, so nothing is copied when the cache
/// grows or hypotheses are reordered.
class SlotCache {
 public:
  /// width: Hkv D.
  SlotCache(int64_t layers, int64_t width);

  /// Takes `count` new slots; returns the first.
  int64_t take(int64_t count);

  float* key(int64_t layer, int64_t slot) { return place(layer * 2, slot); }
  float* value(int64_t layer, int64_t slot) { return place(layer * 2 + 1, slot); }
  kernels::CacheRows keys(int64_t layer) const { return rows(layer * 2); }
  kernels::CacheRows values(int64_t layer) const { return rows(layer * 2 + 1); }

 private:
  float* place(int64_t kind, int64_t slot);
  kernels::CacheRows rows(int64_t kind) const;

  int64_t layers_, width_;
  int64_t used_ = 0;
  std::vector<torch::Tensor> memory_;                // each block: [2 layers, block, width]
  std::vector<std::vector<const float*>> pointers_;  // [2 layers][blocks]
};

}  // namespace attend::detail
