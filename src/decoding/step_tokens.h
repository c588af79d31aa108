#pragma once

#include <torch/torch.h>

#include <vector>

#include "attend/models/incremental_model.h"

namespace attend::detail {

/// Throws c10::ValueError for a negative id.
void check_bad_words(const char* who, const std::vector<int64_t>& ids);

/// The ids that a method of decoding never chooses, as a tensor on `device`: pad, start unless it also ends a
/// sequence, and `others`, but not the end token. Ids beyond the logits [N, vocab] are left out: a model may
/// read tokens that it never predicts.
torch::Tensor never_chosen(const SpecialTokenIds& special, const std::vector<int64_t>& others,
                           int64_t vocab, torch::Device device);

/// Sets the logits [N, V] of some ids to -infinity.
void forbid(torch::Tensor& logits, const torch::Tensor& ids);

/// The result of a step for N rows: C tokens each, with a number for each token. Read from a device
/// in one copy.
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
  const int32_t* data_;   // of packed_
};

}  // namespace attend::detail
