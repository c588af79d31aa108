#pragma once

#include <torch/torch.h>

namespace attend::testing_support {

/// -x as LibTorch sometimes hands it out: memory that holds x, and a mark that readers negate it. The
/// imaginary part of a conjugate is one.
inline torch::Tensor lazily_negated(const torch::Tensor& x) {
  return torch::imag(torch::conj(torch::complex(torch::zeros_like(x), x)));
}

}  // namespace attend::testing_support
