#include "support/pretend_memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <map>
#include <memory>
#include <vector>

namespace attend::testing_support {
namespace {

// Pages of one storage.
class Block {
 public:
  explicit Block(size_t size)
      : size_(size), start_(::mmap(nullptr, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) {
    TORCH_CHECK(start_ != MAP_FAILED, "pretend device: expected ", size, " bytes, got none");
  }
  ~Block() { ::munmap(start_, size_); }
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;
  Block(Block&&) = delete;
  Block& operator=(Block&&) = delete;

  size_t size() const { return size_; }
  void* start() const { return start_; }

  // As often as it is opened it must be closed.
  void open() {
    if (opened_++ == 0) protect(PROT_READ | PROT_WRITE);
  }
  void close() {
    if (--opened_ == 0) protect(PROT_NONE);
  }

 private:
  void protect(int access) const { TORCH_CHECK(::mprotect(start_, size_, access) == 0); }

  size_t size_;
  void* start_;
  int opened_ = 0;
};

// Blocks that are free, by their sizes: new pages cost more than most kernels.
class FreeBlocks {
 public:
  std::unique_ptr<Block> take(size_t bytes) {
    static const auto kPage = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
    const auto size = (bytes + kPage - 1) / kPage * kPage;
    const std::scoped_lock lock(mutex_);
    auto& free = by_size_[size];
    if (free.empty()) return std::make_unique<Block>(size);
    auto block = std::move(free.back());
    free.pop_back();
    return block;
  }
  void put(std::unique_ptr<Block> block) {
    const std::scoped_lock lock(mutex_);
    by_size_[block->size()].push_back(std::move(block));
  }

 private:
  std::mutex mutex_;
  std::map<size_t, std::vector<std::unique_ptr<Block>>> by_size_;
};

// Not destroyed: tensors of static objects may outlive it.
FreeBlocks& free_blocks() {
  static auto& blocks = *new FreeBlocks;
  return blocks;
}

// The block of a tensor's storage, or none where it is empty or the CPU's.
Block* block_of(const torch::Tensor& x) {
  if (!x.device().is_privateuseone()) return nullptr;
  return static_cast<Block*>(x.storage().data_ptr().get_context());
}

class PretendAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    const c10::Device device(c10::DeviceType::PrivateUse1, 0);
    if (bytes == 0) return {nullptr, device};
    auto block = free_blocks().take(bytes);
    auto* start = block->start();
    block->open();
    std::memset(start, 0xFF, block->size());  // NaN in every floating-point type
    block->close();
    return {start, block.release(), &release, device};
  }
  c10::DeleterFnPtr raw_deleter() const override { return nullptr; }
  void copy_data(void* /*to*/, const void* /*from*/, std::size_t /*bytes*/) const override {
    TORCH_CHECK(false, "pretend device: expected storages to be copied by tensors");
  }

 private:
  static void release(void* block) {
    free_blocks().put(std::unique_ptr<Block>(static_cast<Block*>(block)));
  }
};

}  // namespace

c10::Allocator* pretend_allocator() {
  static PretendAllocator allocator;
  return &allocator;
}

std::recursive_mutex& OpenMemory::mutex() {
  static std::recursive_mutex one;
  return one;
}

OpenMemory::~OpenMemory() {
  for (const auto& x : open_) block_of(x)->close();
}

torch::Tensor OpenMemory::operator()(const torch::Tensor& x) {
  if (x.is_cpu()) return x;
  if (auto* block = block_of(x)) {
    block->open();
    open_.push_back(x);
  }
  auto view = torch::from_blob(x.data_ptr(), x.sizes(), x.strides(),
                               torch::TensorOptions(torch::kCPU).dtype(x.scalar_type()));
  if (x.is_conj()) view = view.conj();
  return x.is_neg() ? view._neg_view() : view;
}

}  // namespace attend::testing_support
