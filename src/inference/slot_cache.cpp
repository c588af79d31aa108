#include "inference/slot_cache.h"

#include <algorithm>

#include "inference/scratch.h"

namespace attend::detail {
namespace {

constexpr int64_t kSlotsOfBlock = 64;
constexpr int64_t kShareOfFree = 4;  // a quarter of all slots is free after a search for free ones

}  // namespace

SlotCache::SlotCache(int64_t layers, int64_t width)
    : layers_(layers), width_(width), pointers_(static_cast<size_t>(2 * layers)) {}

int64_t SlotCache::size() const { return static_cast<int64_t>(memory_.size()) * kSlotsOfBlock; }

// Makes all slots free that no row has. The first are taken first.
void SlotCache::find_free(const SlotTable& users) {
  std::vector<bool> used(static_cast<size_t>(size()));
  users.mark(used);
  free_.clear();
  for (auto slot = size(); slot-- > 0;) {
    if (!used[static_cast<size_t>(slot)]) free_.push_back(static_cast<int32_t>(slot));
  }
}

void SlotCache::add_block() {
  memory_.push_back(torch::empty({2 * layers_, kSlotsOfBlock, width_}, on_cpu(torch::kFloat)));
  const auto* data = memory_.back().const_data_ptr<float>();
  for (size_t kind = 0; kind < pointers_.size(); ++kind) {
    pointers_[kind].push_back(data + static_cast<int64_t>(kind) * kSlotsOfBlock * width_);
  }
}

std::vector<int32_t> SlotCache::take(int64_t count, const SlotTable& users) {
  if (static_cast<int64_t>(free_.size()) < count) {
    find_free(users);
    // So many are made that the next search for free ones is far.
    const auto missing =
        std::max(count, size() / kShareOfFree) - static_cast<int64_t>(free_.size());
    for (int64_t made = 0; made < missing; made += kSlotsOfBlock) add_block();
    if (missing > 0) find_free(users);
  }
  std::vector<int32_t> taken(free_.rbegin(), free_.rbegin() + count);
  free_.resize(free_.size() - static_cast<size_t>(count));
  return taken;
}

std::vector<int32_t> SlotCache::take_copies(SlotCache& other, const SlotTable& users,
                                            const SlotTable& own_users) {
  std::vector<bool> used(static_cast<size_t>(other.size()));
  users.mark(used);
  const auto taken = take(std::ranges::count(used, true), own_users);
  std::vector<int32_t> copy_of(used.size());
  size_t next = 0;
  for (size_t slot = 0; slot < used.size(); ++slot) {
    if (!used[slot]) continue;
    copy_of[slot] = taken[next++];
    for (int64_t kind = 0; kind < 2 * layers_; ++kind) {
      std::copy_n(other.place(kind, static_cast<int64_t>(slot)), width_,
                  place(kind, copy_of[slot]));
    }
  }
  return copy_of;
}

float* SlotCache::place(int64_t kind, int64_t slot) {
  auto* data = memory_[static_cast<size_t>(slot / kSlotsOfBlock)].mutable_data_ptr<float>();
  return data + (kind * kSlotsOfBlock + slot % kSlotsOfBlock) * width_;
}

kernels::CacheRows SlotCache::rows(int64_t kind) const {
  return {.blocks = pointers_[static_cast<size_t>(kind)].data(),
          .block = kSlotsOfBlock,
          .stride = width_};
}

}  // namespace attend::detail
