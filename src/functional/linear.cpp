#include "attend/functional/linear.h"

#include "detail/check.h"
#include "functional/linear_product.h"
#include "functional/named_linear.h"
#include "functional/products.h"

namespace attend::functional {
namespace {

// Up to so many rows, rounding the weights costs more than LibTorch's slow products of 16 bits.
constexpr int64_t kFewRows = 8;

int64_t rows_of(const torch::Tensor& x) { return x.size(-1) == 0 ? 0 : x.numel() / x.size(-1); }

// Of numbers rounded to 16 bits, as a processor with products of them computes it.
torch::Tensor linear_by_float32(const torch::Tensor& x, const torch::Tensor& weight,
                                const torch::Tensor& bias) {
  const ThroughFloat32 float32(x, /*is_wanted=*/true);
  const auto taken = [&](const torch::Tensor& t) {
    return float32.widened(t.defined() ? float32.rounded(t) : t);
  };
  return float32.rounded(at::linear(taken(x), taken(weight), taken(bias)));
}

}  // namespace

torch::Tensor linear(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias,
                     const char* who) {
  detail::check_shape(who, "weight", weight, {-1, -1});
  TORCH_CHECK(x.defined() && x.dim() >= 1 && x.size(-1) == weight.size(1), who,
              ": expected an input whose last size is ", weight.size(1), ", got ",
              x.defined() ? detail::shape_string(x.sizes()) : "an undefined tensor");
  if (bias.defined()) {
    detail::check_shape(who, "bias", bias, {weight.size(0)});
    detail::check_same_kind(who, "bias", bias, "the weight", weight);
  }
  detail::check_same_kind(who, "an input", x, "the weight", weight);
  if (rows_of(x) > kFewRows && lacks_products_of(x)) return linear_by_float32(x, weight, bias);
  if (product_is_faster(x, weight, bias)) return linear_by_product(x, weight, bias);
  return at::linear(x, weight, bias);
}

torch::Tensor linear(const torch::Tensor& x, const torch::nn::Linear& layer, const char* who) {
  return linear(x, layer->weight, layer->bias, who);
}

torch::Tensor linear(const torch::Tensor& x, const torch::Tensor& weight,
                     const torch::Tensor& bias) {
  return linear(x, weight, bias, "linear");
}

torch::Tensor linear(const torch::Tensor& x, const torch::nn::Linear& layer) {
  return linear(x, layer->weight, layer->bias);
}

}  // namespace attend::functional
