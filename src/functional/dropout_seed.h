#pragma once

#include <torch/torch.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace attend::functional {

/// The seed of the next dropout on the CPU, as `dropout` draws it.
uint64_t draw_dropout_seed();

/// `dropout` on the CPU with this seed, p > 0: what a kernel that draws the same numbers
/// (kernels/cpu/dropout.h) has to agree with.
torch::Tensor dropout_with_seed(const torch::Tensor& x, double p, uint64_t seed);

/// An element is kept, times `scale`, where its 32-bit random number is at least `threshold`.
struct DropoutRule {
  uint32_t threshold;
  double scale;
};
inline DropoutRule dropout_rule(double p) {
  constexpr double kTwoTo32 = 4294967296.0;
  return {static_cast<uint32_t>(std::min(std::round(p * kTwoTo32), kTwoTo32 - 1)), 1.0 / (1.0 - p)};
}

}  // namespace attend::functional
