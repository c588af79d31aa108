#include "functional/linear_product.h"

#include <optional>

#include "detail/parallel.h"
#include "functional/products.h"
#include "kernels/cpu/product.h"

namespace attend::functional {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Below these, copying the weights takes too much of the time.
constexpr int64_t kFewestProductRows = 32, kSmallestWeight = 1024;

// So many rows are worth a thread of their own, which copies the weights for itself.
constexpr int64_t kRowsOfThread = 48;

kernels::Strided strided(const torch::Tensor& x) {
  return {x.const_data_ptr<float>(), x.stride(0), x.stride(1)};
}

// a [M, K] b [K, N] + bias [N] or undefined.
torch::Tensor product_of(const torch::Tensor& a, const torch::Tensor& b,
                         const torch::Tensor& bias = {}) {
  auto c = at::empty({a.size(0), b.size(1)}, a.options());
  const kernels::Product product{.rows = a.size(0),
                                 .columns = b.size(1),
                                 .depth = a.size(1),
                                 .a = strided(a),
                                 .b = strided(b),
                                 .bias = bias.defined() ? bias.const_data_ptr<float>() : nullptr,
                                 .c = c.mutable_data_ptr<float>()};
  detail::parallel_for(product.rows, kRowsOfThread, [&](int64_t first, int64_t last) {
    kernels::product(product, first, last);
  });
  return c;
}

torch::Tensor as_rows(const torch::Tensor& x) { return x.reshape({-1, x.size(-1)}); }

torch::Tensor compute(const torch::Tensor& x, const torch::Tensor& weight,
                      const torch::Tensor& bias) {
  at::DimVector sizes(x.sizes());
  sizes.back() = weight.size(0);
  return product_of(as_rows(x), weight.t(), bias.defined() ? bias.contiguous() : bias).view(sizes);
}

class LinearProduct : public torch::autograd::Function<LinearProduct> {
 public:
  static torch::Tensor forward(AutogradContext* context, const torch::Tensor& x,
                               const torch::Tensor& weight,
                               const std::optional<torch::Tensor>& bias) {
    context->save_for_backward({x, weight});
    const auto b = bias.value_or(torch::Tensor());
    context->saved_data["needs_bias"] = b.defined() && b.requires_grad();
    context->saved_data["needs_x"] = x.requires_grad();
    context->saved_data["needs_weight"] = weight.requires_grad();
    return compute(x, weight, b);
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    const auto &x = saved[0], &weight = saved[1];
    const auto gradient = as_rows(gradients[0]);
    // To be differentiated again, LibTorch's own product.
    const bool records = torch::GradMode::is_enabled();
    const auto times = [&](const torch::Tensor& a, const torch::Tensor& b) {
      return records ? at::mm(a, b) : product_of(a, b);
    };
    variable_list result(3);
    if (context->saved_data["needs_x"].toBool()) {
      result[0] = times(gradient, weight).view(x.sizes());
    }
    if (context->saved_data["needs_weight"].toBool()) {
      result[1] = times(gradient.t(), as_rows(x));
    }
    if (context->saved_data["needs_bias"].toBool()) result[2] = gradient.sum(0);
    return result;
  }
};

}  // namespace

bool product_is_faster(const torch::Tensor& x, const torch::Tensor& weight) {
  return x.is_cpu() && x.scalar_type() == torch::kFloat && prefers_own_products() &&
         product_type(x) == torch::kFloat && x.layout() == torch::kStrided &&
         weight.numel() >= kSmallestWeight && x.numel() >= kFewestProductRows * x.size(-1);
}

torch::Tensor linear_by_product(const torch::Tensor& x, const torch::Tensor& weight,
                                const torch::Tensor& bias) {
  const bool records =
      torch::GradMode::is_enabled() &&
      (x.requires_grad() || weight.requires_grad() || (bias.defined() && bias.requires_grad()));
  if (!records) return compute(x, weight, bias);
  return LinearProduct::apply(x, weight, bias.defined() ? std::optional(bias) : std::nullopt);
}

}  // namespace attend::functional
