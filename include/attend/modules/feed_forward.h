#pragma once

// For those who build models of layers.

#include <torch/torch.h>

#include "attend/export.h"
#include "attend/functional/feed_forward.h"

namespace attend {

/// Options for `FeedForward`.
struct ATTEND_API FeedForwardOptions {
  FeedForwardOptions(int64_t embed_dim, int64_t feed_forward_dim);

  TORCH_ARG(int64_t, embed_dim);                          // E
  TORCH_ARG(int64_t, feed_forward_dim);                   // F, the hidden size
  TORCH_ARG(Activation, activation) = Activation::kRelu;  // of the hidden layer
  TORCH_ARG(bool, gated) = false;    // activation of a second projection, multiplied with the first
  TORCH_ARG(double, dropout) = 0.0;  // on the hidden layer, in training; [0, 1)
  TORCH_ARG(bool, bias) = true;      // on all projections
};

/// The position-wise feed-forward block: y = activation(x W_1 + b_1) W_2 + b_2; gated,
/// y = (activation(x W_g + b_g) * (x W_1 + b_1)) W_2 + b_2, which is SwiGLU with kSwish and GEGLU with
/// kGelu.
///
/// Source: Vaswani et al., 2017, arXiv:1706.03762, section 3.3, equation 2; gated: Shazeer, 2020,
///         arXiv:2002.05202, section 2, equation 6.
/// Shapes: x [..., E] -> [..., E].
/// Throws: c10::ValueError for options, c10::Error for shapes.
class ATTEND_API FeedForwardImpl : public torch::nn::Cloneable<FeedForwardImpl> {
 public:
  FeedForwardImpl(int64_t embed_dim, int64_t feed_forward_dim)
      : FeedForwardImpl(FeedForwardOptions(embed_dim, feed_forward_dim)) {}
  explicit FeedForwardImpl(const FeedForwardOptions& options_);
  void reset() override;
  void pretty_print(std::ostream& stream) const override;
  torch::Tensor forward(const torch::Tensor& x);

  FeedForwardOptions options;
  torch::nn::Linear fc1{nullptr}, fc2{nullptr};  // E -> F, F -> E
  torch::nn::Linear gate_proj{nullptr};          // only with gated: E -> F
};
TORCH_MODULE(FeedForward);

}  // namespace attend
