#pragma once

// For programs that compute on CUDA devices.

#include "attend/export.h"

namespace attend {

/// Loads the CUDA half of LibTorch into the process, so that `torch::kCUDA` devices work.
///
/// attend links LibTorch's CPU half alone: its CUDA half takes half a second and 350 MB to load. A
/// program that needs CUDA calls this first, before anything else asks LibTorch about CUDA
/// (`torch::cuda::is_available()`, `torch::manual_seed()`): LibTorch remembers the answer. A program
/// that links the whole of LibTorch (`${TORCH_LIBRARIES}` or `attend::torch_cuda`) has CUDA from its
/// start; there, and when called again, it does nothing.
///
/// Throws: c10::Error where libtorch_cuda.so does not lie beside the libtorch_cpu.so in use or cannot
///         be loaded, and where LibTorch was asked about CUDA before.
/// Note:   that there is a device is not checked; `torch::cuda::is_available()` says so afterwards.
ATTEND_API void load_cuda();

}  // namespace attend
