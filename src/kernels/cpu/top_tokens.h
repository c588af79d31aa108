#pragma once

#include <cstdint>

namespace attend::kernels {

/// Logits of a row that are read together, a part of it. The last part may have fewer.
constexpr int64_t kTopPart = 256;
constexpr int64_t top_parts(int64_t size) { return (size + kTopPart - 1) / kTopPart; }

/// The `count` largest of rows of logits [size], in descending order, of equal ones the first one first;
/// and log sum exp(logit). A row that has NaN begins with NaN. Rows are read part by part, so that they need not be in memory.
struct TopTokens {
  int64_t size, count;      // V, C
  const int64_t* excluded;  // [excluded_count] ids that are not among the largest, ascending
  int64_t excluded_count;
  bool sums_excluded;  // whether the sums are over them too
  float* largest;      // [rows, top_parts(size)] of each part
  float* sums;      // the same shape: of exp(logit - largest); or null, with `largest`: not wanted
  float* values;    // [rows, C], of the parts so far
  int64_t* tokens;  // [rows, C]; where the value is -infinity any id
};

/// Makes rows begin without parts.
void clear_top_tokens(const TopTokens& top, int64_t rows);

/// Adds a part of each row, those in ascending order. logits: the part's of row r begin at r * stride.
/// Those of excluded ids become -infinity.
void add_top_part(const TopTokens& top, int64_t rows, int64_t part, float* logits, int64_t stride);

/// Adds to rows the largest of other parts of them. Sums need nothing: they lie by part.
void add_top_tokens(const TopTokens& top, int64_t rows, const TopTokens& others);

/// log sum exp(logit) of a row whose parts have been added. The bits depend neither on the order in which
/// they were added nor on how many logits of -infinity come last. NaN where a logit is.
float top_log_sum(const TopTokens& top, int64_t row);

}  // namespace attend::kernels
