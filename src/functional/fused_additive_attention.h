#pragma once

#include "functional/additive_formula.h"

namespace attend::functional {

/// Whether there is a kernel for these: on the CPU, in float32 or float64, without tangents; where
/// `has_cuda_kernels`, also on CUDA devices in float32.
bool has_additive_kernel(const AdditiveInputs& in);

/// `additive_formula` by the kernel. The scores are undefined unless they are wanted.
AdditiveOutput fused_additive_attention(const AdditiveInputs& in, bool wants_scores);

}  // namespace attend::functional
