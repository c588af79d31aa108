#include "decoding/token_rules.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "models/prompt_padding.h"

namespace attend {
namespace {

std::optional<std::string> fault_of_numbers(const char* what, const std::vector<int64_t>& all) {
  const auto wrong = std::ranges::find_if(all, [](int64_t one) { return one < 0; });
  if (wrong == all.end()) return std::nullopt;
  return fmt::format("expected {} >= 0, got {}", what, *wrong);
}

}  // namespace

bool detail::has(const std::vector<int64_t>& tokens, int64_t token) {
  return std::ranges::find(tokens, token) != tokens.end();
}

std::optional<std::string> detail::fault_of(const TokenRules& rules) {
  const auto penalty = rules.repetition_penalty;
  if (!(penalty > 0.0 && std::isfinite(penalty))) {
    return fmt::format("expected a finite repetition_penalty > 0, got {}", penalty);
  }
  for (const auto& sequence : rules.bad_words_ids) {
    if (sequence.empty()) return "expected bad_words_ids of a token or more each, got none";
    if (auto fault = fault_of_numbers("bad_words_ids", sequence)) return fault;
  }
  if (rules.exponential_decay_length_penalty) {
    const auto& [start, factor] = *rules.exponential_decay_length_penalty;
    if (start < 0 || !(factor > 0.0 && std::isfinite(factor))) {
      return fmt::format(
          "expected exponential_decay_length_penalty of a start >= 0 and a finite factor > 0, got "
          "{} and {}",
          start, factor);
    }
  }
  const std::pair<const char*, std::vector<int64_t>> numbers[]{
      {"no_repeat_ngram_size", {rules.no_repeat_ngram_size}},
      {"min_length", {rules.min_length}},
      {"min_new_tokens", {rules.min_new_tokens.value_or(0)}},
      {"forced_bos_token_id", {rules.forced_bos_token_id.value_or(0)}},
      {"suppress_tokens", rules.suppress_tokens},
      {"begin_suppress_tokens", rules.begin_suppress_tokens}};
  for (const auto& [what, all] : numbers) {
    if (auto fault = fault_of_numbers(what, all)) return fault;
  }
  if (rules.forced_bos_token_id && has(rules.suppress_tokens, *rules.forced_bos_token_id)) {
    return fmt::format("expected suppress_tokens without forced_bos_token_id {}, got it",
                       *rules.forced_bos_token_id);
  }
  return std::nullopt;
}

void TokenRules::validate(const char* who) const {
  const auto fault = detail::fault_of(*this);
  TORCH_CHECK_VALUE(!fault, who, ": ", fault.value_or(""));
}

namespace detail {
namespace {

// A tensor of numbers, on the device of `like`.
template <typename Number>
torch::Tensor beside(const torch::Tensor& like, const std::vector<Number>& numbers) {
  const auto type = c10::CppTypeToScalarType<Number>::value;
  return torch::tensor(numbers, torch::TensorOptions(torch::kCPU).dtype(type)).to(like.device());
}

}  // namespace

RuleBook::RuleBook(TokenRules rules, const SpecialTokenIds& special)
    : rules_(std::move(rules)), special_(special) {
  std::ranges::copy_if(rules_.bad_words_ids, std::back_inserter(bad_sequences_),
                       [](const auto& sequence) { return sequence.size() > 1; });
  looks_at_tokens_ = rules_.repetition_penalty != 1.0 || rules_.no_repeat_ngram_size > 0 ||
                     !bad_sequences_.empty() || rules_.min_new_tokens.value_or(0) > 0 ||
                     (rules_.min_length > 0 && !rules_.min_new_tokens) ||
                     rules_.exponential_decay_length_penalty ||
                     !rules_.begin_suppress_tokens.empty();
}

std::optional<int64_t> RuleBook::forced(int64_t length) const {
  return length == 1 ? rules_.forced_bos_token_id : std::nullopt;
}

bool RuleBook::may_not_end(const RowTokens& row) const {
  const auto length = static_cast<int64_t>(row.tokens.size());
  if (rules_.min_new_tokens) return length - row.given < *rules_.min_new_tokens;
  return length < rules_.min_length;
}

void RuleBook::add_banned(const RowTokens& row, int64_t vocab, ScoreChanges& changes) const {
  const auto& tokens = row.tokens;
  const auto add = [&](int64_t token) {
    // A model may have input tokens that it never predicts.
    if (token < vocab) changes.banned.push_back(row.row * vocab + token);
  };
  const auto length = static_cast<int64_t>(tokens.size());
  // The last n - 1 tokens and the next one must not be n that were there before.
  const auto n = rules_.no_repeat_ngram_size;
  for (auto first = tokens.begin(); n > 0 && tokens.end() - first >= n; ++first) {
    if (std::equal(first, first + n - 1, tokens.end() - (n - 1))) add(*(first + n - 1));
  }
  for (const auto& sequence : bad_sequences_) {
    const auto before = static_cast<int64_t>(sequence.size()) - 1;
    if (before <= length &&
        std::equal(sequence.begin(), sequence.end() - 1, tokens.end() - before)) {
      add(sequence.back());
    }
  }
  if (may_not_end(row) && special_.eos_id >= 0) add(special_.eos_id);
  const bool skips_one = row.given == 1 && rules_.forced_bos_token_id;
  if (length == row.given + (skips_one ? 1 : 0)) {
    std::ranges::for_each(rules_.begin_suppress_tokens, add);
  }
}

ScoreChanges RuleBook::changes(const std::vector<RowTokens>& rows, int64_t vocab) const {
  ScoreChanges changes;
  for (const auto& row : rows) {
    if (rules_.repetition_penalty != 1.0) {
      for (const auto token : row.tokens) {
        if (token < vocab) changes.repeated.push_back(row.row * vocab + token);
      }
    }
    if (rules_.exponential_decay_length_penalty && special_.eos_id >= 0) {
      const auto& [start, factor] = *rules_.exponential_decay_length_penalty;
      const auto over = static_cast<int64_t>(row.tokens.size()) - row.given - start;
      if (over > 0) {
        changes.endings.emplace_back(row.row * vocab + special_.eos_id,
                                     std::pow(factor, static_cast<double>(over)) - 1.0);
      }
    }
    add_banned(row, vocab, changes);
  }
  return changes;
}

void RuleBook::penalise(const torch::Tensor& scores, const ScoreChanges& changes) const {
  auto flat = scores.view(-1);
  if (!changes.repeated.empty()) {
    // A place that is there twice gets the same value twice.
    const auto places = beside(scores, changes.repeated);
    const auto old = flat.index_select(0, places);
    const auto penalty = rules_.repetition_penalty;
    flat.index_copy_(0, places, torch::where(old < 0, old * penalty, old / penalty));
  }
  if (!changes.endings.empty()) {
    std::vector<int64_t> at;
    std::vector<float> growth;
    for (const auto& [place, by] : changes.endings) {
      at.push_back(place);
      growth.push_back(static_cast<float>(by));
    }
    const auto places = beside(scores, at);
    const auto old = flat.index_select(0, places);
    const auto grown = old + old.abs() * beside(scores, growth);
    flat.index_copy_(0, places, torch::where(old.isfinite(), grown, old));
  }
}

void ban(const torch::Tensor& scores, const ScoreChanges& changes) {
  if (changes.banned.empty()) return;
  scores.view(-1).index_fill_(0, beside(scores, changes.banned),
                              -std::numeric_limits<double>::infinity());
}

std::vector<std::vector<int64_t>> fed_first(const char* who, const DecoderState& state,
                                            const SpecialTokenIds& special,
                                            const torch::Tensor& source,
                                            const AttentionMask& source_mask) {
  const auto batch = source.size(0), length = source.size(1);
  if (!state.first_tokens().defined()) {
    return std::vector(static_cast<size_t>(batch), std::vector<int64_t>{special.start_id});
  }
  auto padding = left_padding(who, source_mask, source);
  if (padding.defined()) padding = padding.to(torch::kCPU, torch::kLong).contiguous();
  const auto prompts = source.to(torch::kCPU, torch::kLong).contiguous();
  std::vector<std::vector<int64_t>> tokens;
  for (int64_t b = 0; b < batch; ++b) {
    const auto* row = prompts.const_data_ptr<int64_t>() + b * length;
    const auto first = padding.defined() ? padding.const_data_ptr<int64_t>()[b] : 0;
    tokens.emplace_back(row + first, row + length);
  }
  return tokens;
}

}  // namespace detail
}  // namespace attend
