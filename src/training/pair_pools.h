#pragma once

#include <cstdint>
#include <optional>
#include <tuple>
#include <vector>

#include "attend/data/batches.h"
#include "attend/data/token_file.h"
#include "attend/text/bpe_dropout.h"

namespace attend::detail {

/// A number that each pool of each epoch has for its own random numbers.
inline uint64_t pool_number(uint64_t epoch, size_t pool) {
  constexpr unsigned kPoolShift = 32;
  return epoch + (static_cast<uint64_t>(pool) << kPoolShift);
}

/// Cuts pairs into other subwords in each epoch.
struct PairCutter {
  BpeDropout dropout;
  int64_t max_length;  // a side that would be longer stays as it is; `</s>` not counted
};

/// A corpus as pools of pairs, one in memory at a time; batches are made of the pairs of a pool.
///
/// A corpus in memory is one pool. A file of more than `pool_pairs` pairs has several: each epoch
/// draws its blocks in another order, so pairs that lie far apart meet in a pool. With a cutter their
/// subwords are others in each epoch, those of an only pool in a second copy; the fingerprint is that
/// of the corpus itself.
class PairPools {
 public:
  explicit PairPools(std::vector<TokenPair> pairs, std::optional<PairCutter> cutter = {});
  PairPools(TokenFile file, int64_t pool_pairs, std::optional<PairCutter> cutter = {});

  size_t size() const { return size_; }
  size_t pools() const { return pools_; }
  uint64_t fingerprint() const { return fingerprint_; }

  /// A pool of an epoch, a pure function of its arguments; it holds until the next call.
  const std::vector<TokenPair>& pool(uint64_t seed, uint64_t epoch, size_t index);

 private:
  const std::vector<TokenPair>& uncut_pool(uint64_t seed, uint64_t epoch, size_t index);

  std::optional<TokenFile> file_;
  std::optional<PairCutter> cutter_;
  size_t size_ = 0, pools_ = 1, pool_blocks_ = 0;
  uint64_t fingerprint_ = 0;
  std::vector<TokenPair> pairs_;
  std::vector<size_t> blocks_;  // those in `pairs_`
  std::vector<TokenPair> cut_;  // the only pool's pairs with other subwords
  std::optional<std::tuple<uint64_t, uint64_t, size_t>> cut_pool_;  // what it was asked for with
};

}  // namespace attend::detail
