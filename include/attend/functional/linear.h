#pragma once

// For those who write modules of their own.

#include <torch/torch.h>

#include "attend/export.h"

namespace attend::functional {

/// y = x weight^T + bias, by the fastest product for these sizes and this processor. Every
/// projection of attend is made by it.
///
/// Shapes: x [..., in], weight [out, in], bias [out] or undefined -> [..., out].
/// Throws: c10::Error for shapes, devices and dtypes.
/// Note:   bfloat16 or float16, by dtype or by autocast, on a CPU without products of them: more
///         than a few rows are multiplied in float32 and rounded; see `has_fast_products`.
/// Note:   in float32 attend's own product is taken where LibTorch's (MKL) is slower: on AMD's
///         processors, and for up to 128 rows on Intel's with AVX-512. The environment variable
///         ATTEND_LINEAR, `attend` or `libtorch`, overrides the choice; c10::ValueError is thrown for
///         another value.
/// Note:   forward-mode AD and derivatives beyond the first use at::linear.
ATTEND_API torch::Tensor linear(const torch::Tensor& x, const torch::Tensor& weight,
                                const torch::Tensor& bias = {});

/// The same with the parameters of a module.
ATTEND_API torch::Tensor linear(const torch::Tensor& x, const torch::nn::Linear& layer);

/// Whether `device` multiplies bfloat16 or float16 numbers at least as fast as float32. A CPU does
/// it for bfloat16 with AMX or, unless it is Intel's, AVX512_BF16, and for float16 with AMX-FP16 or
/// AVX512_FP16. True for all other types, and for GPUs and other architectures than x86, of which
/// nothing is known.
ATTEND_API bool has_fast_products(torch::ScalarType type, const torch::Device& device);

}  // namespace attend::functional
