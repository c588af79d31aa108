#include "training/pair_pools.h"

#include <algorithm>
#include <numeric>

#include "data/shuffle.h"

namespace attend::detail {

PairPools::PairPools(std::vector<TokenPair> pairs)
    : size_(pairs.size()), fingerprint_(attend::fingerprint(pairs)), pairs_(std::move(pairs)) {}

PairPools::PairPools(TokenFile file, int64_t pool_pairs)
    : file_(std::move(file)),
      size_(file_->size()),
      pool_blocks_(std::max<size_t>(1, static_cast<size_t>(pool_pairs) / TokenFile::kBlockPairs)),
      fingerprint_(file_->fingerprint()) {
  pools_ = std::max<size_t>(1, (file_->blocks() + pool_blocks_ - 1) / pool_blocks_);
}

const std::vector<TokenPair>& PairPools::pool(uint64_t seed, uint64_t epoch, size_t index) {
  if (!file_) return pairs_;
  std::vector<size_t> blocks(file_->blocks());
  std::iota(blocks.begin(), blocks.end(), 0);
  // One pool holds all of them anyway, and stays as it is.
  if (pools_ > 1) {
    auto random = random_engine(seed, epoch);
    shuffle(blocks, random);
  }
  const auto first = std::min(blocks.size(), index * pool_blocks_);
  const auto last = std::min(blocks.size(), first + pool_blocks_);
  std::vector<size_t> chosen(blocks.begin() + static_cast<std::ptrdiff_t>(first),
                             blocks.begin() + static_cast<std::ptrdiff_t>(last));
  std::ranges::sort(chosen);  // the disk is read forwards
  if (chosen != blocks_) {
    pairs_.clear();
    pairs_ = file_->read(chosen);
    blocks_ = std::move(chosen);
  }
  return pairs_;
}

}  // namespace attend::detail
