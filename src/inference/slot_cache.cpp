#include "inference/slot_cache.h"

#include "inference/scratch.h"

namespace attend::detail {
namespace {

constexpr int64_t kSlotsOfBlock = 64;

}  // namespace

SlotCache::SlotCache(int64_t layers, int64_t width)
    : layers_(layers), width_(width), pointers_(static_cast<size_t>(2 * layers)) {}

int64_t SlotCache::take(int64_t count) {
  const auto first = used_;
  while (static_cast<int64_t>(memory_.size()) * kSlotsOfBlock < used_ + count) {
    memory_.push_back(torch::empty({2 * layers_, kSlotsOfBlock, width_}, on_cpu(torch::kFloat)));
    const auto* data = memory_.back().const_data_ptr<float>();
    for (size_t kind = 0; kind < pointers_.size(); ++kind) {
      pointers_[kind].push_back(data + static_cast<int64_t>(kind) * kSlotsOfBlock * width_);
    }
  }
  used_ += count;
  return first;
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
