#pragma once

#include <torch/torch.h>

#include "attend/export.h"

namespace attend {

/// The non-linearity of a feed-forward block.
enum class Activation {
  kRelu,      // max(0, x)
  kGelu,      // x Phi(x), exact: Hendrycks and Gimpel, 2016, arXiv:1606.08415
  kGeluTanh,  // its approximation by tanh, GPT-2's "gelu_new": the same paper, section 2
  kSwish,     // x sigmoid(x), also called SiLU: Ramachandran et al., 2017, arXiv:1710.05941
};

namespace functional {

/// The activation, element by element.
ATTEND_API torch::Tensor activate(const torch::Tensor& x, Activation activation);

/// The position-wise feed-forward block.
///
///   y = activation(x W_1 + b_1) W_2 + b_2
///
/// Source: Vaswani et al., 2017, arXiv:1706.03762, equation 2.
/// Shapes: x [..., E], fc1 E -> F, fc2 F -> E; dropout_p is on the hidden layer, applied always.
ATTEND_API torch::Tensor feed_forward(const torch::Tensor& x, const torch::nn::Linear& fc1,
                                      const torch::nn::Linear& fc2, Activation activation,
                                      double dropout_p = 0.0, const char* who = "feed_forward");

}  // namespace functional
}  // namespace attend
