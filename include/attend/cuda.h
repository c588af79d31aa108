#pragma once

// For programs that compute on CUDA devices.

#include "attend/export.h"

namespace attend {

/// Loads the CUDA half of LibTorch into the process, so that `torch::kCUDA` devices work.
///
/// attend links only LibTorch's CPU half, since the CUDA half takes half a second and 350 MB to
/// load. A program that needs CUDA must call this before anything else asks LibTorch about CUDA
/// (`torch::cuda::is_available()`, `torch::manual_seed()`), because LibTorch caches the answer. A
/// program that links all of LibTorch (`${TORCH_LIBRARIES}` or `attend::torch_cuda`) has CUDA from
/// the start; there, and when called again, this function does nothing.
///
/// Throws: c10::Error if libtorch_cuda.so is not beside the libtorch_cpu.so in use or cannot be
///         loaded, or if LibTorch was asked about CUDA before.
/// Note:   does not check that there is a device; call `torch::cuda::is_available()` afterwards.
ATTEND_API void load_cuda();

}  // namespace attend
