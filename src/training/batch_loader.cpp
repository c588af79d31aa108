#include "training/batch_loader.h"

#include <utility>

namespace attend::detail {

BatchLoader::BatchLoader(TrainingTask& task, int64_t rank, int64_t processes, int64_t parts,
                         bool pinned)
    : task_(&task),
      rank_(static_cast<size_t>(rank)),
      processes_(static_cast<size_t>(processes)),
      parts_(static_cast<size_t>(parts)),
      pinned_(pinned) {}

void BatchLoader::seek(const DataPosition& position) {
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

std::string BatchLoader::describe(const DataPosition& position) {
  seek(position);
  plan_.clear();  // the task may have gone on to another pool
  return task_->describe(chosen(position));
}

const std::vector<size_t>& BatchLoader::chosen(const DataPosition& at) {
  if (plan_.empty() || planned_.epoch != at.epoch || planned_.pool != at.pool) {
    plan_ = task_->plan(at.epoch, at.pool);
    planned_ = at;
  }
  TORCH_CHECK(at.batch < plan_.size(), "TrainingLoop: expected more than ", at.batch,
              " batches in pool ", at.pool, " of epoch ", at.epoch + 1, ", got ", plan_.size());
  return plan_[at.batch];
}

BatchShare BatchLoader::make(const DataPosition& at) {
  const auto& examples = chosen(at);
  BatchShare share;
  share.at = at;
  share.examples = static_cast<int64_t>(examples.size());
  std::vector<std::vector<size_t>> own(parts_);
  for (size_t i = 0; i < examples.size(); ++i) {
    const auto terms = task_->loss_terms(examples[i]);
    share.tokens += task_->tokens(examples[i]);
    share.loss_terms += terms;
    // A batch is ordered by length, so that every process and every part gets as much.
    if (i % processes_ != rank_) continue;
    own[i / processes_ % parts_].push_back(examples[i]);
    share.share_terms += terms;
  }
  share.counts = !own.front().empty();
  if (!share.counts) own.front().push_back(examples.front());
  for (const auto& part : own) {
    if (part.empty()) break;
    auto& tensors = share.parts.emplace_back(task_->collate(part));
    if (!pinned_) continue;
    for (auto& tensor : tensors) tensor = tensor.pin_memory();
  }
  step(share);
  return share;
}

// What is done after this batch, and the next one.
void BatchLoader::step(BatchShare& share) const {
  const auto& at = share.at;
  const auto pools = task_->pools();
  const double in_pool = static_cast<double>(at.batch + 1) / static_cast<double>(plan_.size());
  share.after = at;
  share.epochs_done = static_cast<double>(at.epoch) +
                      (static_cast<double>(at.pool) + in_pool) / static_cast<double>(pools);
  if (++share.after.batch < plan_.size()) return;
  share.after.batch = 0;
  if (++share.after.pool < pools) return;
  share.after.pool = 0;
  ++share.after.epoch;
  share.epochs_done = static_cast<double>(share.after.epoch);  // exactly
}

}  // namespace attend::detail
