#pragma once

#include <torch/torch.h>

#include <functional>

namespace attend::functional {

/// Whether `x`, which may be undefined, carries a tangent: a derivative in forward mode. Kernels of attend read
/// numbers alone, so that what has one takes LibTorch's operations instead.
bool carries_tangent(const torch::Tensor& x);

/// Whether a backward pass, called for these gradients (undefined: none), is to be differentiated itself: a graph of it
/// is recorded (create_graph), or a gradient carries a tangent. It then has to consist of LibTorch's operations.
bool is_differentiated_again(const torch::autograd::variable_list& gradients);

/// The gradients of `inputs`, for those of the outputs of `formula`, where the backward pass of a kernel
/// `is_differentiated_again`: computed by LibTorch's operations from the formula.
///
/// inputs:    what the formula takes; they may be one tensor, or be made of each other. Undefined ones are
///            handed on.
/// gradients: one for each output of the formula, undefined where there is none.
/// Returns:   one for each input, undefined where it requires none or nothing depends on it.
torch::autograd::variable_list gradients_of_formula(
    const torch::autograd::variable_list& inputs,
    const std::function<torch::autograd::variable_list(const torch::autograd::variable_list&)>&
        formula,
    const torch::autograd::variable_list& gradients);

}  // namespace attend::functional
