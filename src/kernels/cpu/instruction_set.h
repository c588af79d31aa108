#pragma once

namespace attend::kernels {

/// Highway's name of the instruction set that the kernels are run for on this processor.
const char* instruction_set();

/// Whether kernels can multiply pairs of bfloat16 by instructions of this processor (AVX-512 BF16).
bool has_bfloat16_products();

/// Whether these are faster than float32's multiply-adds of the same numbers. Not on Intel's
/// processors: a vector of pairs takes them four times as long as one of float32, half as fast in all.
bool prefers_bfloat16_products();

}  // namespace attend::kernels
