#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <vector>

#include "inference/prepared_rows.h"
#include "kernels/cpu/cached_attention.h"

namespace attend::detail {

/// The keys and values of all layers of a decoder, a slot for each token that was fed. Slots are in
/// blocks that never move, and hypotheses refer to them by number, so nothing is copied when the cache
/// grows or hypotheses are reordered. Slots that no hypothesis refers to any more are used again.
class SlotCache {
 public:
  /// width: Hkv D.
  SlotCache(int64_t layers, int64_t width);

  /// Takes `count` slots that no row of `users` has; in a new cache 0, 1, 2, ...
  std::vector<int32_t> take(int64_t count, const SlotTable& users);

  /// Takes a copy of the slots that rows of `users` have in another cache, and gives the slot of each
  /// copy by the number of its original. own_users: the rows of this cache.
  std::vector<int32_t> take_copies(SlotCache& other, const SlotTable& users,
                                   const SlotTable& own_users);

  /// The number of slots in memory, taken or not.
  int64_t size() const;

  float* key(int64_t layer, int64_t slot) { return place(layer * 2, slot); }
  float* value(int64_t layer, int64_t slot) { return place(layer * 2 + 1, slot); }
  kernels::CacheRows keys(int64_t layer) const { return rows(layer * 2); }
  kernels::CacheRows values(int64_t layer) const { return rows(layer * 2 + 1); }

 private:
  float* place(int64_t kind, int64_t slot);
  void find_free(const SlotTable& users);
  void add_block();
  kernels::CacheRows rows(int64_t kind) const;

  int64_t layers_, width_;
  std::vector<int32_t> free_;                        // slots to take, from the back
  std::vector<torch::Tensor> memory_;                // each block: [2 layers, block, width]
  std::vector<std::vector<const float*>> pointers_;  // [2 layers][blocks]
};

}  // namespace attend::detail
