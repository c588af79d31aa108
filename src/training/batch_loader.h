#pragma once

#include <cstdint>
#include <future>
#include <vector>

#include "attend/data/batches.h"
#include "attend/models/incremental_model.h"
#include "training/pair_pools.h"

namespace attend::detail {

/// Where a run is in its corpus: everything that decides the next batch.
struct CorpusPosition {
  uint64_t epoch = 0;  // from 0
  size_t pool = 0;     // of the epoch
  size_t batch = 0;    // of the pool

  bool operator==(const CorpusPosition&) const = default;
};

/// One process's share of a batch.
struct BatchShare {
  std::vector<Batch> batches;     // its parts, one for each thread; fewer where it has few pairs
  bool counts = true;             // false: the batch has too few pairs, and this is a stand-in
  CorpusPosition at, after;       // of the batch, and of the next one
  double epochs_done = 0;         // after it
  int64_t pairs = 0;              // of the whole batch
  int64_t tokens = 0;             // of the whole batch, both sides
  int64_t target_tokens = 0;      // of the whole batch
  std::vector<TokenPair> sample;  // the whole batch's first pair, to name it by
};

/// The batches of a run, in their order, each made in a thread while the one before is used.
class BatchLoader {
 public:
  /// The share of process `rank` of `processes`, in `parts` parts; in pinned memory where a GPU will
  /// read it.
  BatchLoader(PairPools pools, const SpecialTokenIds& special, int64_t batch_tokens, uint64_t seed,
              int64_t rank, int64_t processes, int64_t parts, bool pinned);

  /// The next batch is the one at `position`.
  void seek(const CorpusPosition& position);
  BatchShare next();

  const PairPools& pools() const { return pools_; }

 private:
  BatchShare make(CorpusPosition at);

  PairPools pools_;
  SpecialTokenIds special_;
  int64_t batch_tokens_;
  uint64_t seed_;
  size_t rank_, processes_, parts_;
  bool pinned_;
  CorpusPosition planned_;  // epoch and pool of plan_
  BatchPlan plan_;          // empty before the first
  CorpusPosition next_;
  std::future<BatchShare> ahead_;  // last, so that its thread ends before what it uses
};

}  // namespace attend::detail
