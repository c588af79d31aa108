#include "attend/data/batches.h"

#include <algorithm>
#include <numeric>

#include "data/fingerprint.h"
#include "data/shuffle.h"
#include "detail/check.h"

namespace attend {
namespace {

// Cuts an order of pairs into batches of at most max_tokens on the longer side.
BatchPlan cut(const std::vector<TokenPair>& corpus, const std::vector<size_t>& order,
              int64_t max_tokens) {
  detail::check_positive("plan_batches", "max_tokens", max_tokens);
  BatchPlan plan;
  size_t longest = 0;
  for (const auto index : order) {
    const auto& pair = corpus[index];
    const auto length = std::max(pair.source.size(), pair.target.size());
    const auto new_longest = std::max(longest, length);
    if (plan.empty() || new_longest * (plan.back().size() + 1) > static_cast<size_t>(max_tokens)) {
      plan.emplace_back();
      longest = length;
    } else {
      longest = new_longest;
    }
    plan.back().push_back(index);
  }
  return plan;
}

void sort_by_length(std::vector<size_t>& order, const std::vector<TokenPair>& corpus) {
  std::ranges::stable_sort(order, [&](size_t a, size_t b) {
    const auto key = [&](size_t i) {
      const auto& [source, target] = corpus[i];
      return std::pair(std::max(source.size(), target.size()), source.size());
    };
    return key(a) < key(b);
  });
}

torch::Tensor padded(const std::vector<std::vector<int64_t>>& rows, int64_t pad_id) {
  size_t longest = 0;
  for (const auto& row : rows) longest = std::max(longest, row.size());
  auto result = torch::full({static_cast<int64_t>(rows.size()), static_cast<int64_t>(longest)},
                            pad_id, torch::TensorOptions(torch::kCPU).dtype(torch::kLong));
  auto* out = result.mutable_data_ptr<int64_t>();
  for (size_t i = 0; i < rows.size(); ++i) std::ranges::copy(rows[i], out + i * longest);
  return result;
}

}  // namespace

BatchPlan plan_batches(const std::vector<TokenPair>& corpus, int64_t max_tokens, uint64_t seed,
                       uint64_t epoch) {
  auto random = detail::random_engine(seed, epoch);
  std::vector<size_t> order(corpus.size());
  std::iota(order.begin(), order.end(), 0);
  detail::shuffle(order, random);
  sort_by_length(order, corpus);
  const auto in_order = cut(corpus, order, max_tokens);

  std::vector<size_t> positions(in_order.size());
  std::iota(positions.begin(), positions.end(), 0);
  detail::shuffle(positions, random);
  BatchPlan plan;
  plan.reserve(in_order.size());
  for (const auto position : positions) plan.push_back(in_order[position]);
  return plan;
}

BatchPlan plan_batches_in_order(const std::vector<TokenPair>& corpus, int64_t max_tokens) {
  std::vector<size_t> order(corpus.size());
  std::iota(order.begin(), order.end(), 0);
  sort_by_length(order, corpus);
  return cut(corpus, order, max_tokens);
}

Batch make_batch(const std::vector<TokenPair>& corpus, const std::vector<size_t>& chosen,
                 int64_t start_id, int64_t pad_id) {
  std::vector<std::vector<int64_t>> sources, inputs, targets;
  Batch batch;
  for (const auto index : chosen) {
    const auto& [source, target] = corpus.at(index);
    sources.push_back(source);
    targets.push_back(target);
    auto& input = inputs.emplace_back(target.size(), start_id);
    if (!target.empty()) std::copy(target.begin(), target.end() - 1, input.begin() + 1);
    batch.source_tokens += static_cast<int64_t>(source.size());
    batch.target_tokens += static_cast<int64_t>(target.size());
  }
  batch.source = padded(sources, pad_id);
  batch.target_input = padded(inputs, pad_id);
  batch.target = padded(targets, pad_id);
  return batch;
}

uint64_t fingerprint(const std::vector<TokenPair>& corpus) {
  detail::Fingerprint fingerprint;
  for (const auto& pair : corpus) fingerprint.add(pair);
  return fingerprint.value();
}

}  // namespace attend
