#include "attend/decoding/sampling.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "decoding/step_tokens.h"
#include "decoding/token_rules.h"
#include "detail/check.h"

namespace attend {
namespace {

constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();

// Draws one token from each row of probabilities [N, V] -> [N, 1]. Draws the same tokens as
// torch::multinomial with the same generator, but without its checks, which synchronise.
torch::Tensor drawn_from(const torch::Tensor& probabilities,
                         const std::optional<torch::Generator>& generator) {
  const auto noise = torch::empty_like(probabilities).exponential_(1.0, generator);
  return (probabilities / noise).argmax(-1, /*keepdim=*/true);
}

// What the rules look at, of the sequences that are not finished. fed: the tokens fed first to each.
std::vector<detail::RowTokens> tokens_of_rows(const std::vector<size_t>& live,
                                              const std::vector<std::vector<int64_t>>& fed,
                                              const std::vector<SampledSequence>& results) {
  std::vector<detail::RowTokens> rows;
  for (const auto i : live) {
    auto tokens = fed[i];
    tokens.insert(tokens.end(), results[i].tokens.begin(), results[i].tokens.end());
    rows.push_back({static_cast<int64_t>(rows.size()), std::move(tokens),
                    static_cast<int64_t>(fed[i].size())});
  }
  return rows;
}

// Replaces the first tokens drawn where the rules force one. drawn: [N, 1]. Returns whether they do, for
// each row.
std::vector<bool> force_first(const torch::Tensor& drawn, const detail::RuleBook& rules,
                              const std::vector<std::vector<int64_t>>& fed, int64_t vocab) {
  std::vector<bool> is_forced;
  for (const auto& tokens : fed) {
    const auto forced = rules.forced(static_cast<int64_t>(tokens.size()));
    TORCH_CHECK_VALUE(forced.value_or(0) < vocab,
                      "sample: expected forced_bos_token_id among the model's ", vocab,
                      " tokens, got ", forced.value_or(0));
    if (forced) drawn.select(0, static_cast<int64_t>(is_forced.size())).fill_(*forced);
    is_forced.push_back(forced.has_value());
  }
  return is_forced;
}

}  // namespace

void SamplingOptions::validate() const {
  constexpr auto kName = "SamplingOptions";
  TORCH_CHECK_VALUE(temperature > 0.0 && std::isfinite(temperature), kName,
                    ": expected a finite temperature > 0, got ", temperature);
  TORCH_CHECK_VALUE(top_k >= 0, kName, ": expected top_k >= 0, got ", top_k);
  TORCH_CHECK_VALUE(top_p > 0.0 && top_p <= 1.0, kName, ": expected 0 < top_p <= 1, got ", top_p);
  detail::check_positive(kName, "max_new_tokens", max_new_tokens);
  rules.validate(kName);
}

torch::Tensor filtered_logits(const torch::Tensor& logits, const SamplingOptions& options) {
  options.validate();
  detail::check_rank("filtered_logits", "logits", logits, 1, 8);
  // Smaller or larger temperatures would be 0 or infinite in float32.
  using Float = std::numeric_limits<float>;
  auto result = logits / std::clamp<double>(options.temperature, Float::min(), Float::max());
  const auto size = result.size(-1);
  if (options.top_k > 0 && options.top_k < size) {
    const auto least = std::get<0>(result.topk(options.top_k)).narrow(-1, options.top_k - 1, 1);
    result = result.masked_fill(result < least, kMinusInfinity);
  }
  if (options.top_p < 1.0) {
    const auto [sorted, order] = result.sort(/*dim=*/-1, /*descending=*/true);
    const auto probabilities = torch::softmax(sorted, -1);
    // Removes the tokens before which the sum has reached top_p; the likeliest token always stays.
    const auto before = probabilities.cumsum(-1) - probabilities;
    const auto excluded = before.ge(options.top_p);
    result = result.masked_fill(torch::zeros_like(excluded).scatter(-1, order, excluded),
                                kMinusInfinity);
  }
  return result;
}

std::vector<SampledSequence> sample(IncrementalModel& model, const torch::Tensor& prompt,
                                    const SamplingOptions& options,
                                    const std::optional<torch::Generator>& generator,
                                    const AttentionMask& prompt_mask) {
  options.validate();
  detail::check_ids("sample", "prompt", prompt);
  detail::check_shape("sample", "prompt", prompt, {-1, -1});
  const torch::InferenceMode inference;
  const auto batch = prompt.size(0);
  std::vector<SampledSequence> results(static_cast<size_t>(batch));
  if (batch == 0) return results;
  const auto special = model.special_tokens();
  const auto state = model.start(prompt, prompt_mask);
  const auto room = model.max_target_length() - state->position();
  TORCH_CHECK_VALUE(room >= 1, "sample: expected a prompt that leaves room for tokens, got ",
                    prompt.size(1), " tokens of at most ", model.max_target_length());
  const auto steps = std::min(options.max_new_tokens, room);

  auto tokens = state->first_tokens();
  if (!tokens.defined()) tokens = torch::full({batch}, special.start_id, prompt.options());
  std::vector<size_t> live(results.size());  // index in results of each batch row
  for (size_t i = 0; i < live.size(); ++i) live[i] = i;
  const detail::RuleBook rules(options.rules, special);
  std::vector<std::vector<int64_t>> fed;  // to each sequence; none if no rule needs it
  if (rules.looks_at_tokens() || options.rules.forced_bos_token_id) {
    fed = detail::fed_first("sample", *state, special, prompt, prompt_mask);
  }
  torch::Tensor forbidden;
  for (int64_t step = 0; step < steps && !live.empty(); ++step) {
    auto logits = detail::logits_of_all(model.step(tokens, *state), model.vocabulary_sizes().target)
                      .to(torch::kFloat);
    if (!forbidden.defined()) {
      forbidden = detail::never_chosen(special, options.rules, logits.size(1), prompt.device());
    }
    detail::forbid(logits, forbidden);
    detail::ScoreChanges changes;
    if (rules.looks_at_tokens()) {
      changes = rules.changes(tokens_of_rows(live, fed, results), logits.size(1));
    }
    auto allowed = logits;
    if (!changes.empty()) {
      allowed = logits.clone(torch::MemoryFormat::Contiguous);
      rules.penalise(allowed, changes);
      detail::ban(allowed, changes);
    }
    // Subtracting the maximum makes the largest logit 0, so dividing by a small temperature does
    // not overflow.
    const auto filtered = filtered_logits(allowed - allowed.amax(-1, /*keepdim=*/true), options);
    const auto drawn = drawn_from(torch::softmax(filtered, -1), generator);
    auto log_probabilities = torch::log_softmax(logits, -1).gather(-1, drawn);
    if (!changes.empty()) {
      // Where all tokens are banned, the one drawn is too.
      const auto banned = allowed.gather(-1, drawn) == kMinusInfinity;
      log_probabilities.masked_fill_(banned, kMinusInfinity);
    }
    std::vector<bool> forced(live.size());
    if (step == 0 && !fed.empty()) forced = force_first(drawn, rules, fed, logits.size(1));
    const auto chosen = detail::copied_tokens(log_probabilities, drawn);
    std::vector<int64_t> rows;
    std::vector<size_t> still_live;
    for (size_t row = 0; row < live.size(); ++row) {
      const auto at = static_cast<int64_t>(row);
      auto& result = results[live[row]];
      const auto id = chosen.token(at, 0);
      TORCH_CHECK(!std::isnan(chosen.log_probability(at, 0)),
                  "sample: expected logits without NaN, got NaN in step ", step, " of prompt ",
                  live[row]);
      TORCH_CHECK(forced[row] || chosen.log_probability(at, 0) > kMinusInfinity,
                  "sample: expected a token that may be chosen, got probability 0 for all in step ",
                  step, " of prompt ", live[row]);
      if (!forced[row]) result.log_probability += chosen.log_probability(at, 0);
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
