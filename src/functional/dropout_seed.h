#pragma once

#include <torch/torch.h>

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
DropoutRule dropout_rule(double p);

}  // namespace attend::functional
