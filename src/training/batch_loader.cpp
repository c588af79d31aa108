#include "training/batch_loader.h"

#include <algorithm>

namespace attend::detail {

BatchLoader::BatchLoader(PairPools pools, const SpecialTokenIds& special, int64_t batch_tokens,
                         uint64_t seed, int64_t rank, int64_t processes, int64_t parts, bool pinned)
    : pools_(std::move(pools)),
      special_(special),
      batch_tokens_(batch_tokens),
      seed_(seed),
      rank_(static_cast<size_t>(rank)),
      processes_(static_cast<size_t>(processes)),
      parts_(static_cast<size_t>(parts)),
      pinned_(pinned) {}

void BatchLoader::seek(const CorpusPosition& position) {
  if (ahead_.valid()) ahead_.wait();  // it reads what follows
  ahead_ = {};
  next_ = position;
}

BatchShare BatchLoader::next() {
  auto share = ahead_.valid() ? ahead_.get() : make(next_);
  next_ = share.after;
  ahead_ = std::async(std::launch::async, [this, at = next_] { return make(at); });
  return share;
}

BatchShare BatchLoader::make(CorpusPosition at) {
  const auto& pairs = pools_.pool(seed_, at.epoch, at.pool);
  if (plan_.empty() || planned_.epoch != at.epoch || planned_.pool != at.pool) {
    plan_ = plan_batches(pairs, batch_tokens_, seed_, pool_number(at.epoch, at.pool));
    planned_ = at;
  }
  const auto& chosen = plan_.at(at.batch);
  BatchShare share;
  share.at = share.after = at;
  share.pairs = static_cast<int64_t>(chosen.size());
  std::vector<std::vector<size_t>> own(parts_);
  for (size_t i = 0; i < chosen.size(); ++i) {
    const auto& [source, target] = pairs[chosen[i]];
    share.tokens += static_cast<int64_t>(source.size() + target.size());
    share.target_tokens += static_cast<int64_t>(target.size());
    // A batch is ordered by length, so that every process and every part gets as much.
    if (i % processes_ == rank_) own[i / processes_ % parts_].push_back(chosen[i]);
  }
  share.counts = !own.front().empty();
  if (!share.counts) own.front().push_back(chosen.front());
  share.sample = {pairs[chosen.front()]};
  for (const auto& part : own) {
    if (part.empty()) break;
    auto& batch =
        share.batches.emplace_back(make_batch(pairs, part, special_.start_id, special_.pad_id));
    if (!pinned_) continue;
    for (auto* tensor : {&batch.source, &batch.target_input, &batch.target}) {
      *tensor = tensor->pin_memory();
    }
  }

  const double in_pool = static_cast<double>(at.batch + 1) / static_cast<double>(plan_.size());
  share.epochs_done = static_cast<double>(at.epoch) + (static_cast<double>(at.pool) + in_pool) /
                                                          static_cast<double>(pools_.pools());
  if (++share.after.batch == plan_.size()) {
    share.after.batch = 0;
    if (++share.after.pool == pools_.pools()) {
      share.after.pool = 0;
      ++share.after.epoch;
      share.epochs_done = static_cast<double>(share.after.epoch);  // exactly
    }
  }
  return share;
}

}  // namespace attend::detail
