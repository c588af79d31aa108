#pragma once

#include <torch/torch.h>

namespace attend::functional {

/// Softmax over the last axis; rows of -infinity alone become zeros, forward and backward. It has
/// derivatives of every order and in forward mode, of its gradient too.
torch::Tensor softmax_or_zero(const torch::Tensor& scores);

}  // namespace attend::functional
