#include "attend/data/batches.h"

#include <algorithm>
#include <numeric>
#include <span>
#include <utility>

#include "data/fingerprint.h"
#include "data/length_batches.h"
#include "data/shuffle.h"
#include "detail/check.h"

namespace attend {
namespace {

// The length of a pair is that of its longer side.
size_t length_of(const TokenPair& pair) { return std::max(pair.source.size(), pair.target.size()); }

// Cuts an order of pairs into batches of at most max_tokens on the longer side.
BatchPlan cut(const std::vector<TokenPair>& corpus, const std::vector<size_t>& order,
              int64_t max_tokens) {
  detail::check_positive("plan_batches", "max_tokens", max_tokens);
  return detail::cut_into_batches(
      order, [&](size_t pair) { return length_of(corpus[pair]); }, max_tokens);
}

void sort_by_length(std::vector<size_t>& order, const std::vector<TokenPair>& corpus) {
  std::ranges::stable_sort(order, [&](size_t a, size_t b) {
    const auto key = [&](size_t i) {
      return std::pair(length_of(corpus[i]), corpus[i].source.size());
    };
    return key(a) < key(b);
  });
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
  std::vector<std::span<const int64_t>> sources, targets, inputs;
  std::vector<std::vector<int64_t>> shifted;
  shifted.reserve(chosen.size());
  Batch batch;
  for (const auto index : chosen) {
    const auto& [source, target] = corpus.at(index);
    sources.emplace_back(source);
    targets.emplace_back(target);
    auto& input = shifted.emplace_back(target.size(), start_id);
    if (!target.empty()) std::copy(target.begin(), target.end() - 1, input.begin() + 1);
    inputs.emplace_back(input);
    batch.source_tokens += static_cast<int64_t>(source.size());
    batch.target_tokens += static_cast<int64_t>(target.size());
  }
  batch.source = detail::padded(sources, pad_id);
  batch.target_input = detail::padded(inputs, pad_id);
  batch.target = detail::padded(targets, pad_id);
  return batch;
}

uint64_t fingerprint(const std::vector<TokenPair>& corpus) {
  detail::Fingerprint fingerprint;
  for (const auto& pair : corpus) fingerprint.add(pair);
  return fingerprint.value();
}

}  // namespace attend
