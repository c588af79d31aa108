#pragma once

namespace attend::kernels {

/// Highway's name of the instruction set that the kernels are run for on this processor.
const char* instruction_set();

/// Whether kernels multiply pairs of bfloat16 by instructions of this processor (AVX-512 BF16).
bool has_bfloat16_products();

}  // namespace attend::kernels
