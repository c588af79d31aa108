#pragma once

#include <torch/torch.h>

#include <cstdint>

namespace attend::detail {

/// `x` with no more rows than columns: as it is or transposed.
inline torch::Tensor wide(const torch::Tensor& x) {
  return x.size(-2) > x.size(-1) ? x.transpose(-2, -1) : x;
}

/// Approximately the nearest matrices to x [.., M, N] with singular values of 1: between 0.68 and
/// 1.21, unless those of x are tiny relative to its norm. A matrix of zeros stays zero.
/// Throws: c10::Error unless x has two axes or more, c10::ValueError unless iterations > 0.
torch::Tensor orthogonalized(const torch::Tensor& x, int64_t iterations = 5);

}  // namespace attend::detail
