#pragma once

// For those who write modules of their own.

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
///   y = (activation(x W_g + b_g) * (x W_1 + b_1)) W_2 + b_2, with a gate
///
/// Source: Vaswani et al., 2017, arXiv:1706.03762, equation 2; Shazeer, 2020, arXiv:2002.05202,
///         equation 6.
/// Shapes: x [..., E], fc1 and gate E -> F, fc2 F -> E; dropout_p is on the hidden layer, applied
///         always.
/// Throws: c10::Error for shapes.
ATTEND_API torch::Tensor feed_forward(const torch::Tensor& x, const torch::nn::Linear& fc1,
                                      const torch::nn::Linear& fc2, const torch::nn::Linear& gate,
                                      Activation activation, double dropout_p = 0.0);

}  // namespace functional
}  // namespace attend
