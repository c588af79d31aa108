#pragma once

#include <torch/torch.h>

#include <vector>

#include "attend/models/incremental_model.h"

namespace attend::detail {

/// Throws c10::ValueError for a negative id.
void check_bad_words(const char* who, const std::vector<int64_t>& ids);

/// The ids that decoding never chooses, each once, as a tensor on `device`: pad_id, `others`, and start_id
/// unless the start token also ends a sequence; never eos_id. Ids >= vocab are left out: a model
/// may have input tokens that it never predicts.
torch::Tensor never_chosen(const SpecialTokenIds& special, const std::vector<int64_t>& others,
                           int64_t vocab, torch::Device device);

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

/// The `count` most probable tokens of each row, with the logarithms of their probabilities, in
/// descending order. output: its logits, of which those of `forbidden` ids become -infinity. `shared`:
/// whether the forbidden ids' probability is shared among the others. A row with NaN begins with NaN.
/// Where rows have fewer tokens than `count`, probability 0 follows, with any id.
StepTokens most_probable(const StepOutput& output, const torch::Tensor& forbidden, bool shared,
                         int64_t count);

}  // namespace attend::detail
