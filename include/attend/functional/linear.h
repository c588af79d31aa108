#pragma once

#include <torch/torch.h>

#include "attend/export.h"

namespace attend::functional {

/// y = x weight^T + bias. Every projection of attend goes through this one door, so that a faster
/// route needs to be plugged in only here.
///
/// Shapes: x [..., in], weight [out, in], bias [out] or undefined -> [..., out].
/// Throws: c10::Error for shapes, devices and dtypes, naming `who`.
ATTEND_API torch::Tensor linear(const torch::Tensor& x, const torch::Tensor& weight,
                                const torch::Tensor& bias = {}, const char* who = "linear");

/// The same with the parameters of a module.
ATTEND_API torch::Tensor linear(const torch::Tensor& x, const torch::nn::Linear& layer,
                                const char* who = "linear");

}  // namespace attend::functional
