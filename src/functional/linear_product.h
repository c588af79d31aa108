#pragma once

#include <torch/torch.h>

namespace attend::functional {

/// Whether `linear_by_product` is faster than LibTorch's linear: in float32, for as many rows as
/// `own_products` says, unless the layer is tiny.
bool product_is_faster(const torch::Tensor& x, const torch::Tensor& weight,
                       const torch::Tensor& bias);

/// y = x weight^T + bias by attend's own matrix product, in float32 on the CPU; differentiable any
/// number of times.
///
/// Shapes: x [..., in], weight [out, in], bias [out] or undefined -> [..., out].
torch::Tensor linear_by_product(const torch::Tensor& x, const torch::Tensor& weight,
                                const torch::Tensor& bias);

}  // namespace attend::functional
