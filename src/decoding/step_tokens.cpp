#include "decoding/step_tokens.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <iterator>
#include <limits>
#include <utility>

#include "detail/parallel.h"
#include "kernels/cpu/top_tokens.h"

namespace attend::detail {

torch::Tensor never_chosen(const SpecialTokenIds& special, const TokenRules& rules, int64_t vocab,
                           torch::Device device) {
  std::vector<int64_t> all{special.pad_id, special.start_id};
  for (const auto& sequence : rules.bad_words_ids) {
    if (sequence.size() == 1) all.push_back(sequence.front());
  }
  std::erase(all, special.eos_id);
  all.insert(all.end(), rules.suppress_tokens.begin(), rules.suppress_tokens.end());
  std::vector<int64_t> ids;
  std::ranges::copy_if(all, std::back_inserter(ids),
                       [&](int64_t id) { return id >= 0 && id < vocab; });
  std::ranges::sort(ids);
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  return torch::tensor(ids, torch::kLong).to(device);
}

torch::Tensor logits_of_all(const StepOutput& output, int64_t vocab) {
  if (output.tokens.empty()) return output.logits;
  const auto few = output.logits.to(torch::kCPU).to(torch::kFloat).contiguous();
  auto all =
      torch::full({few.size(0), vocab}, -std::numeric_limits<float>::infinity(), few.options());
  for (int64_t row = 0; row < few.size(0); ++row) {
    const auto* from = few.const_data_ptr<float>() + row * few.size(1);
    float* const to = all.mutable_data_ptr<float>() + row * vocab;
    for (const auto id : *output.tokens[static_cast<size_t>(row)]) to[id] = *from++;
  }
  return all.to(output.logits.device());
}

void forbid(torch::Tensor& logits, const torch::Tensor& ids) {
  if (ids.numel() > 0) logits.index_fill_(1, ids, -std::numeric_limits<double>::infinity());
}

namespace {

// Rows of so many logits are worth another thread.
constexpr int64_t kLogitsForAThread = 50'000;

// log(e^a + e^b); NaN where either is.
float log_sum(float a, float b) {
  const auto [less, more] = a < b ? std::pair(a, b) : std::pair(b, a);
  return std::isinf(more) && more < 0 ? more : more + std::log1p(std::exp(less - more));
}

// Sets the logits [N, W] of the rows' own ids to -infinity where they are forbidden. Returns what they
// were, [N, forbidden].
torch::Tensor forbid_in_rows(torch::Tensor& logits,
                             const std::vector<std::shared_ptr<const std::vector<int64_t>>>& ids,
                             const torch::Tensor& forbidden) {
  constexpr auto kImpossibleLogit = -std::numeric_limits<float>::infinity();
  const auto none = forbidden.to(torch::kCPU);
  auto taken = torch::full({logits.size(0), none.numel()}, kImpossibleLogit, logits.options());
  auto* to = taken.mutable_data_ptr<float>();
  for (int64_t row = 0; row < logits.size(0); ++row) {
    const auto& own = *ids[static_cast<size_t>(row)];
    float* const values = logits.mutable_data_ptr<float>() + row * logits.size(1);
    for (int64_t i = 0; i < none.numel(); ++i, ++to) {
      const auto id = none.const_data_ptr<int64_t>()[i];
      const auto place = std::ranges::lower_bound(own, id);
      if (place == own.end() || *place != id) continue;
      *to = std::exchange(values[place - own.begin()], kImpossibleLogit);
    }
  }
  return taken;
}

}  // namespace

StepTokens most_probable(const StepOutput& output, const torch::Tensor& forbidden,
                         Normaliser normaliser, int64_t count) {
  const auto& ids = output.tokens;
  // Numbers of a few tokens come from the CPU.
  auto logits = ids.empty() ? output.logits : output.logits.to(torch::kCPU).to(torch::kFloat);
  // Of the forbidden alone, if the others do not get their share.
  torch::Tensor apart;
  const bool counts_apart = normaliser == Normaliser::kAll && forbidden.numel() > 0;
  if (!ids.empty()) {
    logits = logits.contiguous();
    apart = forbid_in_rows(logits, ids, forbidden);
  } else {
    if (counts_apart) apart = logits.index_select(1, forbidden).to(torch::kFloat);
    forbid(logits, forbidden);
  }
  apart = counts_apart ? apart.logsumexp(1, /*keepdim=*/true) : torch::Tensor();
  if (!logits.device().is_cpu() || logits.scalar_type() != torch::kFloat) {
    const auto numbers = logits.to(torch::kFloat);
    const auto [best, tokens] = numbers.topk(count, 1);
    if (normaliser == Normaliser::kNone) return {best, tokens};
    auto sum = numbers.logsumexp(1, /*keepdim=*/true);  // [N, 1]
    if (apart.defined()) sum = torch::logaddexp(sum, apart);
    return {best - sum, tokens};
  }
  const auto dense = logits.contiguous();
  const auto rows = dense.size(0), vocab = dense.size(1);
  count = std::min(count, vocab);
  const auto numbers = torch::empty({rows, count}, dense.options());
  const auto tokens = torch::empty({rows, count}, dense.options().dtype(torch::kInt));
  std::vector<float> sums(static_cast<size_t>(rows));
  const kernels::TopTokens top{.size = vocab,
                               .count = count,
                               .logits = dense.const_data_ptr<float>(),
                               .log_sums = sums.data(),
                               .values = numbers.mutable_data_ptr<float>(),
                               .tokens = tokens.mutable_data_ptr<int32_t>()};
  parallel_for(
      rows, std::max<int64_t>(kLogitsForAThread / std::max<int64_t>(vocab, 1), 1),
      [&](int64_t first, int64_t last) {
        std::vector<float> workspace(static_cast<size_t>(kernels::top_tokens_workspace(vocab)));
        kernels::top_tokens(top, first, last, workspace.data());
      });
  if (normaliser == Normaliser::kNone) return {numbers, tokens};
  const auto* others = apart.defined() ? apart.const_data_ptr<float>() : nullptr;
  for (int64_t row = 0; row < rows; ++row) {
    auto sum = sums[static_cast<size_t>(row)];
    if (others != nullptr) sum = log_sum(sum, others[row]);
    float* const of_row = numbers.mutable_data_ptr<float>() + row * count;
    for (int64_t c = 0; c < count; ++c) of_row[c] -= sum;
    if (ids.empty()) continue;
    const auto& own = *ids[static_cast<size_t>(row)];
    auto* const places = tokens.mutable_data_ptr<int32_t>() + row * count;
    for (int64_t c = 0; c < count; ++c) {
      const auto place = std::min(static_cast<size_t>(places[c]), own.size() - 1);
      places[c] = static_cast<int32_t>(own[place]);
    }
  }
  return {numbers, tokens};
}

StepTokens::StepTokens(const torch::Tensor& numbers, const torch::Tensor& tokens)
    : columns_(numbers.size(1)),
      packed_(torch::cat({numbers.contiguous().view(torch::kInt), tokens.to(torch::kInt)}, 1)
                  .to(torch::kCPU)),
      data_(packed_.const_data_ptr<int32_t>()) {}

double StepTokens::number(int64_t row, int64_t column) const {
  return std::bit_cast<float>(data_[row * 2 * columns_ + column]);
}

int64_t StepTokens::token(int64_t row, int64_t column) const {
  return data_[row * 2 * columns_ + columns_ + column];
}

}  // namespace attend::detail
