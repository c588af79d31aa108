#include "attend/functional/feed_forward.h"

#include "attend/functional/dropout.h"
#include "functional/named_linear.h"

namespace attend::functional {

torch::Tensor activate(const torch::Tensor& x, Activation activation) {
  switch (activation) {
    case Activation::kRelu:
      return torch::relu(x);
    case Activation::kGelu:
      return torch::gelu(x);
    case Activation::kGeluTanh:
      return at::gelu(x, "tanh");
    case Activation::kSwish:
      return torch::silu(x);
  }
  TORCH_INTERNAL_ASSERT(false, "activation");
}

torch::Tensor feed_forward(const torch::Tensor& x, const torch::nn::Linear& fc1,
                           const torch::nn::Linear& fc2, const torch::nn::Linear& gate,
                           Activation activation, double dropout_p) {
  constexpr auto kName = "FeedForward";
  auto hidden = gate.is_empty()
                    ? activate(linear(x, fc1, kName), activation)
                    : activate(linear(x, gate, kName), activation) * linear(x, fc1, kName);
  if (dropout_p > 0.0) hidden = dropout(hidden, dropout_p);
  return linear(hidden, fc2, kName);
}

}  // namespace attend::functional
