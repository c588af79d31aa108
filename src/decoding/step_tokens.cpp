#include "decoding/step_tokens.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <iterator>
#include <limits>

#include "detail/ids.h"
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

BestTokens best_on_device(torch::Tensor logits, const BestTokensRequest& request) {
  logits = logits.to(torch::kFloat);
  const auto log_sums = [&] { return logits.logsumexp(1, /*keepdim=*/true); };
  torch::Tensor sums;
  if (request.normaliser == Normaliser::kAll) sums = log_sums();
  if (request.excluded.defined()) forbid(logits, request.excluded);
  if (request.normaliser == Normaliser::kAllowed) sums = log_sums();
  const auto [best, tokens] = logits.topk(std::min(request.count, logits.size(1)), 1);
  return copied_tokens(sums.defined() ? best - sums : best, tokens);
}

// The places of ids among a row's own, both ascending.
std::vector<int64_t> places_among(const std::vector<int64_t>& ids,
                                  const std::vector<int64_t>& own) {
  std::vector<int64_t> places;
  for (const auto id : ids) {
    const auto place = std::ranges::lower_bound(own, id);
    if (place != own.end() && *place == id) places.push_back(place - own.begin());
  }
  return places;
}

}  // namespace

BestTokens best_tokens(const StepOutput& output, const BestTokensRequest& request) {
  const bool of_all = output.tokens.empty();
  if (of_all && !output.logits.is_cpu()) return best_on_device(output.logits, request);
  // Numbers of a few tokens come from the CPU.
  const auto logits = output.logits.to(torch::kCPU).to(torch::kFloat).contiguous();
  const auto excluded = values_of(request.excluded);
  const auto rows = logits.size(0), width = logits.size(1), parts = kernels::top_parts(width);
  const bool has_sums = request.normaliser != Normaliser::kNone;
  BestTokens best{.count = std::min(request.count, width)};
  best.log_probabilities.resize(static_cast<size_t>(rows * best.count));
  best.tokens.resize(best.log_probabilities.size());
  const auto find = [&](int64_t row, float* sums) {
    float* const values = best.log_probabilities.data() + row * best.count;
    int64_t* const tokens = best.tokens.data() + row * best.count;
    const auto* own = of_all ? nullptr : output.tokens[static_cast<size_t>(row)].get();
    const auto none = of_all ? excluded : places_among(excluded, *own);
    const kernels::TopTokens top{.size = width,
                                 .count = best.count,
                                 .excluded = none.data(),
                                 .excluded_count = static_cast<int64_t>(none.size()),
                                 .sums_excluded = request.normaliser == Normaliser::kAll,
                                 .largest = sums,
                                 .sums = has_sums ? sums + parts : nullptr,
                                 .values = values,
                                 .tokens = tokens};
    kernels::clear_top_tokens(top, 1);
    for (int64_t part = 0; part < parts; ++part) {
      kernels::add_top_part(
          top, 1, part, logits.mutable_data_ptr<float>() + row * width + part * kernels::kTopPart,
          width);
    }
    const float sum = has_sums ? kernels::top_log_sum(top, 0) : 0.0F;
    for (int64_t c = 0; c < best.count; ++c) {
      values[c] -= sum;
      if (!of_all) tokens[c] = (*own)[static_cast<size_t>(tokens[c])];
    }
  };
  parallel_for(rows, std::max<int64_t>(kLogitsForAThread / std::max<int64_t>(width, 1), 1),
               [&](int64_t first, int64_t last) {
                 std::vector<float> sums(static_cast<size_t>(2 * parts));
                 for (auto row = first; row < last; ++row) find(row, sums.data());
               });
  return best;
}

BestTokens copied_tokens(const torch::Tensor& log_probabilities, const torch::Tensor& tokens) {
  // Of 32 bits both: the bits of the numbers, then the tokens.
  const auto packed =
      torch::cat({log_probabilities.contiguous().view(torch::kInt), tokens.to(torch::kInt)}, 1)
          .to(torch::kCPU);  // [N, 2 C]
  const auto rows = packed.size(0);
  BestTokens copied{.count = log_probabilities.size(1)};
  const auto* from = packed.const_data_ptr<int32_t>();
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t c = 0; c < copied.count; ++c) {
      copied.log_probabilities.push_back(std::bit_cast<float>(*from++));
    }
    for (int64_t c = 0; c < copied.count; ++c) copied.tokens.push_back(*from++);
  }
  return copied;
}

}  // namespace attend::detail
