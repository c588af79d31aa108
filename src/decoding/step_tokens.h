#pragma once

#include <torch/torch.h>

#include <vector>

#include "attend/decoding/token_rules.h"
#include "attend/models/incremental_model.h"

namespace attend::detail {

/// The ids that decoding never chooses, each once, as a tensor on `device`: suppress_tokens, and pad_id,
/// start_id and bad words of one token where they are not the end token. Ids >= vocab are left out: a
/// model may have input tokens that it never predicts.
torch::Tensor never_chosen(const SpecialTokenIds& special, const TokenRules& rules, int64_t vocab,
                           torch::Device device);

/// The logits [N, vocab] of a step, -infinity for ids that it has no logit of.
torch::Tensor logits_of_all(const StepOutput& output, int64_t vocab);

/// Sets the logits [N, V] of `ids` to -infinity.
void forbid(torch::Tensor& logits, const torch::Tensor& ids);

/// The C chosen tokens of each of N rows, with one number per token. Copied from the device at
/// once.
class StepTokens {
 public:
  /// numbers: [N, C] float32; tokens: [N, C] ids below 2^31.
  StepTokens(const torch::Tensor& numbers, const torch::Tensor& tokens);

  int64_t columns() const { return columns_; }
  double number(int64_t row, int64_t column) const;
  int64_t token(int64_t row, int64_t column) const;

 private:
  int64_t columns_;
  torch::Tensor packed_;  // [N, 2 C] int32 on the CPU: the bits of the numbers, then the tokens
  const int32_t* data_;   // the data of packed_
};

/// What the logarithms of probabilities are relative to.
enum class Normaliser {
  kAll,      // all tokens' probability
  kAllowed,  // that of the tokens that may be chosen
  kNone,     // they are given: logits are logarithms of probabilities already
};

/// The `count` most probable tokens of each row, with the logarithms of their probabilities, in
/// descending order. output: its logits, of which those of `forbidden` ids become -infinity. A row with
/// NaN begins with NaN. Where rows have fewer tokens than `count`, probability 0 follows, with any id.
StepTokens most_probable(const StepOutput& output, const torch::Tensor& forbidden,
                         Normaliser normaliser, int64_t count);

}  // namespace attend::detail
