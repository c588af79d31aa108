#pragma once

#include <torch/torch.h>

namespace attend::functional {

/// The dtype in which LibTorch multiplies `x`: autocast's where that is on and casts x, else its own.
torch::ScalarType product_type(const torch::Tensor& x);

/// Whether `x` is multiplied in 16 bits, on a CPU.
bool is_narrow_on_cpu(const torch::Tensor& x);

/// The same, on a CPU that has no instructions for it. Without AVX-512 LibTorch's products are then loops
/// over single numbers, 4 to 40 times slower than float32's, so attend makes them in float32: of numbers
/// rounded to 16 bits, with a result rounded to 16 bits, as a processor with the instructions does.
bool lacks_products_of(const torch::Tensor& x);

/// Whether this CPU multiplies 16-bit numbers by tiles (AMX), ten times faster than float32's.
bool has_narrow_tiles(torch::ScalarType type);

/// Whether attend's own float32 products are faster than LibTorch's. Those are MKL's, which on AMD runs code for AVX2: on two
/// cores with AVX-512 it reaches 150 to 180 GFLOP/s of the 400 to 460 that are possible. The environment variable
/// ATTEND_LINEAR overrides the choice: `attend` or `libtorch`. Throws: c10::ValueError for anything else.
bool prefers_own_products();

}  // namespace attend::functional
