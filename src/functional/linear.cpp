#include "attend/functional/linear.h"

#include "detail/check.h"

namespace attend::functional {

torch::Tensor linear(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias,
                     const char* who) {
  detail::check_shape(who, "weight", weight, {-1, -1});
  TORCH_CHECK(x.defined() && x.dim() >= 1 && x.size(-1) == weight.size(1), who,
              ": expected an input whose last size is ", weight.size(1), ", got ",
              x.defined() ? detail::shape_string(x.sizes()) : "an undefined tensor");
  if (bias.defined()) detail::check_shape(who, "bias", bias, {weight.size(0)});
  detail::check_same_kind(who, "an input", x, "the weight", weight);
  return at::linear(x, weight, bias);
}

torch::Tensor linear(const torch::Tensor& x, const torch::nn::Linear& layer, const char* who) {
  return linear(x, layer->weight, layer->bias, who);
}

}  // namespace attend::functional
