#include "training/pair_pools.h"

#include <algorithm>
#include <numeric>

#include "data/shuffle.h"
#include "detail/parallel.h"

namespace attend::detail {
namespace {

void cut_anew(std::vector<TokenPair>& pairs, const PairCutter& cutter, uint64_t seed,
              uint64_t pool) {
  // The pairs of a block share a random engine, so the number of threads changes nothing.
  constexpr size_t kBlock = 256;
  const auto replace = [&](std::vector<int64_t>& ids, const std::vector<int64_t>& sampled) {
    if (static_cast<int64_t>(sampled.size()) - 1 > cutter.max_length) return;
    ids = std::vector<int64_t>(sampled.begin(), sampled.end());  // without room to grow
  };
  const auto blocks = static_cast<int64_t>((pairs.size() + kBlock - 1) / kBlock);
  parallel_for(blocks, 1, [&](int64_t first, int64_t last) {
    for (auto block = static_cast<size_t>(first); block < static_cast<size_t>(last); ++block) {
      auto random = random_engine(seed, pool, block);
      const auto end = std::min(pairs.size(), (block + 1) * kBlock);
      for (auto i = block * kBlock; i < end; ++i) {
        replace(pairs[i].source, cutter.dropout.sample_source(pairs[i].source, random));
        replace(pairs[i].target, cutter.dropout.sample_target(pairs[i].target, random));
      }
    }
  });
}

}  // namespace

PairPools::PairPools(std::vector<TokenPair> pairs, std::optional<PairCutter> cutter)
    : cutter_(std::move(cutter)),
      size_(pairs.size()),
      fingerprint_(attend::fingerprint(pairs)),
      pairs_(std::move(pairs)) {}

PairPools::PairPools(TokenFile file, int64_t pool_pairs, std::optional<PairCutter> cutter)
    : file_(std::move(file)),
      cutter_(std::move(cutter)),
      size_(file_->size()),
      pool_blocks_(std::max<size_t>(1, static_cast<size_t>(pool_pairs) / TokenFile::kBlockPairs)),
      fingerprint_(file_->fingerprint()) {
  pools_ = std::max<size_t>(1, (file_->blocks() + pool_blocks_ - 1) / pool_blocks_);
}

const std::vector<TokenPair>& PairPools::pool(uint64_t seed, uint64_t epoch, size_t index) {
  if (!cutter_) return uncut_pool(seed, epoch, index);
  // With several pools each is read from the file again, so it can be cut in place.
  auto& cut = pools_ > 1 ? pairs_ : cut_;
  if (const std::tuple wanted(seed, epoch, index); cut_pool_ != wanted) {
    cut_pool_.reset();
    const auto& uncut = uncut_pool(seed, epoch, index);
    if (pools_ > 1) {
      blocks_.clear();  // what the file holds is no longer in memory
    } else {
      cut = uncut;
    }
    cut_anew(cut, *cutter_, seed, pool_number(epoch, index));
    cut_pool_ = wanted;
  }
  return cut;
}

const std::vector<TokenPair>& PairPools::uncut_pool(uint64_t seed, uint64_t epoch, size_t index) {
  if (!file_) return pairs_;
  std::vector<size_t> blocks(file_->blocks());
  std::iota(blocks.begin(), blocks.end(), 0);
  // A single pool holds every block; unshuffled, it is not read again.
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
