#pragma once

#include <torch/torch.h>

#include "kernels/cuda/additive_attention.h"

namespace attend::functional {

/// attend's own kernels for CUDA devices, and the stream of one that they run on.
struct CudaKernels {
  kernels::cuda::AdditiveKernels additive;
  bool is_approximate;  // tanh by the GPU's own instruction
  void* stream;         // a cudaStream_t
};

/// Whether they are wanted: the environment variable ATTEND_CUDA_ADDITIVE is 1, or `approximate`. Without it, or
/// with 0, LibTorch's operations do the work.
/// Throws: c10::ValueError for another value; c10::Error where they are wanted and libattend_cuda.so
///         cannot be loaded, which is built where there is the CUDA toolkit.
bool has_cuda_kernels();

/// Those for the current stream of a CUDA device, where `has_cuda_kernels`.
CudaKernels cuda_kernels(torch::Device device);

/// Whether that stream is being captured into a graph.
bool is_captured(torch::Device device);

}  // namespace attend::functional
