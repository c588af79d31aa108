#pragma once

#include "functional/additive_kernel.h"
#include "functional/cuda_kernels.h"

namespace attend::functional {

/// Additive attention by attend's own kernels for CUDA, of float32 inputs that are rows
/// (`additive_rows`).
AdditiveKernelOutput cuda_additive_forward(const AdditiveInputs& in, bool wants_scores,
                                           const CudaKernels& kernels);

/// Its gradients, of which there is one of the outputs or of the scores or of both.
///
/// That of a bias which broadcasts is made for all [B, H, T, S] and then summed.
AdditiveKernelGradients cuda_additive_backward(
    const AdditiveInputs& in, const torch::Tensor& output, const torch::Tensor& sums,
    const torch::Tensor& of_output, const torch::Tensor& of_scores, const CudaKernels& kernels);

}  // namespace attend::functional
