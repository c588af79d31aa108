#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "attend/data/batches.h"
#include "attend/data/token_file.h"

namespace attend::detail {

/// A corpus as pools of pairs, one in memory at a time; batches are made of the pairs of a pool.
///
/// A corpus in memory is one pool. A file of more than `pool_pairs` pairs has several: each epoch
/// draws its blocks in another order, so pairs that lie far apart meet in a pool.
class PairPools {
 public:
  explicit PairPools(std::vector<TokenPair> pairs);
  PairPools(TokenFile file, int64_t pool_pairs);

  size_t size() const { return size_; }
  size_t pools() const { return pools_; }
  uint64_t fingerprint() const { return fingerprint_; }

  /// A pool of an epoch, a pure function of its arguments; it holds until the next call.
  const std::vector<TokenPair>& pool(uint64_t seed, uint64_t epoch, size_t index);

 private:
  std::optional<TokenFile> file_;
  size_t size_ = 0, pools_ = 1, pool_blocks_ = 0;
  uint64_t fingerprint_ = 0;
  std::vector<TokenPair> pairs_;
  std::vector<size_t> blocks_;  // those in `pairs_`
};

}  // namespace attend::detail
