#pragma once

// For those who write modules of their own.

#include <torch/torch.h>

#include <cstdint>

#include "attend/export.h"

namespace attend::functional {

/// Each element is zero with probability p, and divided by 1 - p otherwise.
///
/// Source: Srivastava et al., 2014, JMLR 15.
/// Shapes: any -> the same.
/// Throws: c10::ValueError unless 0 <= p < 1.
/// Note:   faster than torch::dropout on the CPU, where LibTorch draws on one thread and stores the
///         mask. Here each call takes one number from LibTorch's generator as the seed of a
///         counter-based generator (Philox), which makes the mask in the forward pass and again in
///         the backward pass. So torch::manual_seed decides it, whatever the number of threads; or
///         a `DropoutSeed`.
/// Note:   differentiable any number of times and in forward mode. NaN stays NaN where it is
///         dropped, as in torch::dropout.
ATTEND_API torch::Tensor dropout(const torch::Tensor& x, double p);

/// While it lives, dropout on CPU in this thread draws from its own generator with this seed.
/// LibTorch has one generator for all threads, which draw from it in an unspecified order.
class ATTEND_API DropoutSeed {
 public:
  explicit DropoutSeed(uint64_t seed);
  ~DropoutSeed();
  DropoutSeed(const DropoutSeed&) = delete;
  DropoutSeed& operator=(const DropoutSeed&) = delete;
  DropoutSeed(DropoutSeed&&) = delete;
  DropoutSeed& operator=(DropoutSeed&&) = delete;

 private:
  at::Generator previous_;  // of an enclosing DropoutSeed
};

}  // namespace attend::functional
