#include "inference/weight_memory.h"

#include <algorithm>
#include <cstdlib>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "inference/scratch.h"

namespace attend::detail {
namespace {

constexpr int64_t kHugePage = int64_t{1} << 21;
// Pages that nothing was written to take no memory.
constexpr int64_t kChunk = int64_t{1} << 24;
constexpr int64_t kLine = 64;

int64_t rounded_up(int64_t bytes, int64_t unit) { return (bytes + unit - 1) / unit * unit; }

std::shared_ptr<std::byte> huge_pages(int64_t bytes) {
  void* const memory = std::aligned_alloc(kHugePage, static_cast<size_t>(bytes));
  if (memory == nullptr) throw std::bad_alloc();
#if defined(MADV_HUGEPAGE)
  // Where there are none, small pages do.
  static_cast<void>(madvise(memory, static_cast<size_t>(bytes), MADV_HUGEPAGE));
#endif
  return {static_cast<std::byte*>(memory), [](std::byte* chunk) { std::free(chunk); }};
}

}  // namespace

torch::Tensor WeightMemory::take(int64_t bytes) {
  const auto needed = rounded_up(bytes, kLine);
  if (chunk_ == nullptr || size_ - used_ < needed) {
    size_ = std::max(rounded_up(needed, kHugePage), kChunk);
    chunk_ = huge_pages(size_);
    used_ = 0;
  }
  auto* const place = chunk_.get() + used_;
  used_ += needed;
  return torch::from_blob(
      place, {bytes}, [chunk = chunk_](void*) {}, on_cpu(torch::kByte));
}

}  // namespace attend::detail
