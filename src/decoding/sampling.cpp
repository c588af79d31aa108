#include "attend/decoding/sampling.h"

#include <algorithm>
#include <limits>

#include "decoding/suppressed_tokens.h"
#include "detail/check.h"

namespace attend {
namespace {

constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();

void forbid(torch::Tensor& logits, int64_t id) {
  if (id >= 0) logits.select(-1, id).fill_(kMinusInfinity);
}

}  // namespace

void SamplingOptions::validate() const {
  constexpr auto kName = "SamplingOptions";
  TORCH_CHECK_VALUE(temperature > 0.0, kName, ": expected temperature > 0, got ", temperature);
  TORCH_CHECK_VALUE(top_k >= 0, kName, ": expected top_k >= 0, got ", top_k);
  TORCH_CHECK_VALUE(top_p > 0.0 && top_p <= 1.0, kName, ": expected 0 < top_p <= 1, got ", top_p);
  detail::check_positive(kName, "max_new_tokens", max_new_tokens);
}

torch::Tensor filtered_logits(const torch::Tensor& logits, const SamplingOptions& options) {
  options.validate();
  detail::check_rank("filtered_logits", "logits", logits, 1, 8);
  auto result = logits / options.temperature;
  const auto size = result.size(-1);
  if (options.top_k > 0 && options.top_k < size) {
    const auto least = std::get<0>(result.topk(options.top_k)).narrow(-1, options.top_k - 1, 1);
    result = result.masked_fill(result < least, kMinusInfinity);
  }
  if (options.top_p < 1.0) {
    const auto [sorted, order] = result.sort(/*dim=*/-1, /*descending=*/true);
    const auto probabilities = torch::softmax(sorted, -1);
    // A token goes where those before it hold enough already, so the first one stays.
    const auto before = probabilities.cumsum(-1) - probabilities;
    const auto excluded = before.ge(options.top_p);
    result = result.masked_fill(torch::zeros_like(excluded).scatter(-1, order, excluded),
                                kMinusInfinity);
  }
  return result;
}

std::vector<SampledSequence> sample(IncrementalModel& model, const torch::Tensor& prompt,
                                    const SamplingOptions& options,
                                    const std::optional<torch::Generator>& generator) {
  options.validate();
  detail::check_ids("sample", "prompt", prompt);
  detail::check_shape("sample", "prompt", prompt, {-1, -1});
  const torch::InferenceMode inference;
  const auto batch = prompt.size(0);
  std::vector<SampledSequence> results(static_cast<size_t>(batch));
  if (batch == 0) return results;
  const auto special = model.special_tokens();
  const auto state = model.start(prompt);
  const auto room = model.max_target_length() - state->position();
  TORCH_CHECK_VALUE(room >= 1, "sample: expected a prompt that leaves room for tokens, got ",
                    prompt.size(1), " tokens of at most ", model.max_target_length());
  const auto steps = std::min(options.max_new_tokens, room);
  const detail::SuppressedTokens suppressed("sample", options.suppressed_tokens, prompt.device());

  auto tokens = state->first_tokens();
  if (!tokens.defined()) tokens = torch::full({batch}, special.start_id, prompt.options());
  std::vector<size_t> live(results.size());  // the result that each row belongs to
  for (size_t i = 0; i < live.size(); ++i) live[i] = i;
  for (int64_t step = 0; step < steps && !live.empty(); ++step) {
    auto logits = model.step(tokens, *state).logits.to(torch::kFloat);
    forbid(logits, special.pad_id);
    if (special.start_id != special.eos_id) forbid(logits, special.start_id);
    suppressed.apply(logits);
    const auto drawn =
        torch::softmax(filtered_logits(logits, options), -1).multinomial(1, false, generator);
    const auto probability = torch::log_softmax(logits, -1).gather(-1, drawn);
    const auto ids = drawn.squeeze(1).to(torch::kCPU);
    const auto logs = probability.squeeze(1).to(torch::kCPU, torch::kDouble);
    std::vector<int64_t> rows;
    std::vector<size_t> still_live;
    for (size_t row = 0; row < live.size(); ++row) {
      const auto at = static_cast<int64_t>(row);
      auto& result = results[live[row]];
      const auto id = ids[at].item<int64_t>();
      result.log_probability += logs[at].item<double>();
      if (id == special.eos_id) {
        result.ended = true;
        continue;
      }
      result.tokens.push_back(id);
      rows.push_back(at);
      still_live.push_back(live[row]);
    }
    tokens = drawn.squeeze(1);
    if (rows.size() < live.size() && !rows.empty()) {
      const auto kept = torch::tensor(rows, torch::kLong).to(tokens.device());
      state->reorder(kept, kept);
      tokens = tokens.index_select(0, kept);
    }
    live = std::move(still_live);
  }
  return results;
}

}  // namespace attend
