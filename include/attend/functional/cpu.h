#pragma once

// For programs that report what they compute with.

#include <string>

#include "attend/export.h"

namespace attend::functional {

/// The instruction set that attend's kernels use on this processor, by Highway's name, such as
/// "AVX2" or "AVX3" (AVX-512). LibTorch chooses its own: `at::get_cpu_capability()`.
ATTEND_API std::string cpu_instruction_set();

}  // namespace attend::functional
