#pragma once

#include <torch/torch.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "attend/decoding/token_rules.h"
#include "attend/models/incremental_model.h"

namespace attend::detail {

bool has(const std::vector<int64_t>& tokens, int64_t token);

/// Which field is out of its range: "expected <what>, got <actual>"; nullopt if none is.
std::optional<std::string> fault_of(const TokenRules& rules);

/// The tokens so far of a row of logits.
struct RowTokens {
  int64_t row;
  std::vector<int64_t> tokens;  // those fed first, without padding, and the new ones
  int64_t given;                // how many of them were fed first
};

/// What rules change in the scores [N, V] of a step. A place is row * V + token.
struct ScoreChanges {
  std::vector<int64_t> repeated = {};                    // places that a penalty is for
  std::vector<std::pair<int64_t, double>> endings = {};  // end tokens' places, and factor^n - 1
  std::vector<int64_t> banned = {};

  bool empty() const { return repeated.empty() && endings.empty() && banned.empty(); }
};

/// What TokenRules mean for a model. Bad words of one token and suppressed tokens are left to
/// `never_chosen`, since they are the same in every step.
class RuleBook {
 public:
  RuleBook(TokenRules rules, const SpecialTokenIds& special);

  /// Whether a rule depends on a row's tokens; otherwise there are no changes.
  bool looks_at_tokens() const { return looks_at_tokens_; }

  /// The token that a sequence of `length` tokens must go on with, if any.
  std::optional<int64_t> forced(int64_t length) const;

  ScoreChanges changes(const std::vector<RowTokens>& rows, int64_t vocab) const;

  /// Applies the penalties of `changes` in place. scores: [N, V] float32, contiguous.
  void penalise(const torch::Tensor& scores, const ScoreChanges& changes) const;

 private:
  bool may_not_end(const RowTokens& row) const;
  void add_banned(const RowTokens& row, int64_t vocab, ScoreChanges& changes) const;

  TokenRules rules_;
  SpecialTokenIds special_;
  std::vector<std::vector<int64_t>> bad_sequences_;  // of two tokens or more
  bool looks_at_tokens_;
};

/// Sets what `changes` ban to -infinity, in place. scores: [N, V], contiguous.
void ban(const torch::Tensor& scores, const ScoreChanges& changes);

/// The tokens that were fed first to each sentence: the rows of a prompt without their padding, or the start
/// token. `source_mask` as for IncrementalModel::start.
std::vector<std::vector<int64_t>> fed_first(const char* who, const DecoderState& state,
                                            const SpecialTokenIds& special,
                                            const torch::Tensor& source,
                                            const AttentionMask& source_mask);

}  // namespace attend::detail
