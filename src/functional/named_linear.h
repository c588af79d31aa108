#pragma once

#include "attend/functional/linear.h"

namespace attend::functional {

/// `linear` whose errors name the caller.
torch::Tensor linear(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias,
                     const char* who);
torch::Tensor linear(const torch::Tensor& x, const torch::nn::Linear& layer, const char* who);

}  // namespace attend::functional
