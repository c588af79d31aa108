#pragma once

#include <cstdint>

namespace attend::kernels {

/// The `count` largest of a row of logits [size], in descending order, of equal ones the first one
/// first; and log sum exp(logit), whose bits do not depend on how many logits of -infinity come last. A
/// row with NaN has NaN for its sum.
struct TopTokens {
  int64_t size, count;  // V, C <= V
  const float* logits;  // row r: r * size
  float* log_sums;      // [rows]
  float* values;        // [rows, C]
  int32_t* tokens;      // [rows, C]
};

/// Computes the rows [first, last). `workspace`: top_tokens_workspace(size) numbers.
void top_tokens(const TopTokens& top, int64_t first, int64_t last, float* workspace);

/// Logits that are compared together.
constexpr int64_t kTopBlock = 128;
constexpr int64_t top_tokens_workspace(int64_t size) { return 2 * (size / kTopBlock + 1); }

}  // namespace attend::kernels
