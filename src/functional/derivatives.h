#pragma once

#include <torch/torch.h>

#include <functional>
#include <optional>

namespace attend::functional {

/// `x` as an optional argument of an operation.
inline std::optional<torch::Tensor> if_defined(const torch::Tensor& x) {
  return x.defined() ? std::optional(x) : std::nullopt;
}

/// Whether `x`, which may be undefined, carries a tangent, that is, a derivative in forward mode.
/// attend's kernels do not compute tangents, so such inputs take LibTorch's operations instead.
bool carries_tangent(const torch::Tensor& x);

/// Whether a backward pass, called with these gradients (undefined: none), is to be differentiated
/// itself: a graph of it is recorded (create_graph), or a gradient carries a tangent. It then has
/// to consist of LibTorch's operations.
bool is_differentiated_again(const torch::autograd::variable_list& gradients);

/// The gradients of `inputs` in a backward pass that `is_differentiated_again`: those of `formula`,
/// which consists of LibTorch's operations.
///
/// inputs:    what the formula takes; they may be one tensor, or be made of each other. Undefined
///            ones are handed on.
/// gradients: one for each output of the formula, undefined where there is none.
/// Returns:   one for each input, undefined where it requires none or nothing depends on it.
torch::autograd::variable_list gradients_of_formula(
    const torch::autograd::variable_list& inputs,
    const std::function<torch::autograd::variable_list(const torch::autograd::variable_list&)>&
        formula,
    const torch::autograd::variable_list& gradients);

}  // namespace attend::functional
