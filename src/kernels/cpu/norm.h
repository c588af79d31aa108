#pragma once

#include <cstdint>

namespace attend::kernels {

/// The norm of the rows of x [rows, size].
struct RowNorm {
  bool subtracts_mean;  // LayerNorm, otherwise RMSNorm
  int64_t size;
  const float* weight;  // [size]
  const float* bias;    // [size] or null
  float eps;            // added to the variance or the mean square
};

/// Writes the norms of the rows [first, last) of `input` to `output`, which may be the same.
void normalize_rows(const RowNorm& norm, const float* input, float* output, int64_t first,
                    int64_t last);

}  // namespace attend::kernels
