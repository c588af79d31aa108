#pragma once

#include <torch/torch.h>

#include <cstdint>

#include "attend/export.h"

namespace attend::functional {

/// Each element is zero with probability p, and divided by 1 - p otherwise.
///
/// Source: Srivastava et al., 2014, JMLR 15.
/// Shapes: any -> the same.
/// Throws: c10::ValueError unless 0 <= p < 1.
/// Note:   torch::dropout in all but speed on the CPU, where LibTorch draws on one thread and
///         remembers the mask: here each call takes one number from LibTorch's generator, from
///         which a counter-based generator (Philox) makes the mask, once forward and again
///         backward. So torch::manual_seed decides it, whatever the number of threads; or a
///         `DropoutSeed`.
/// Note:   differentiable any number of times and in forward mode. NaN stays NaN where it is
///         dropped, as in LibTorch's.
ATTEND_API torch::Tensor dropout(const torch::Tensor& x, double p);

/// While it lives, dropout on CPU in this thread draws from a generator of its own with this seed:
/// LibTorch has one generator for all threads, from which they draw in no certain order.
class ATTEND_API DropoutSeed {
 public:
  explicit DropoutSeed(uint64_t seed);
  ~DropoutSeed();
  DropoutSeed(const DropoutSeed&) = delete;
  DropoutSeed& operator=(const DropoutSeed&) = delete;
  DropoutSeed(DropoutSeed&&) = delete;
  DropoutSeed& operator=(DropoutSeed&&) = delete;

 private:
  at::Generator previous_;  // of an outer one
};

}  // namespace attend::functional
