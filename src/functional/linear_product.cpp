#include "functional/linear_product.h"

#include <optional>

#include "detail/parallel.h"
#include "functional/derivatives.h"
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

// a [M, K] b [K, N] + bias [N] or undefined, into a new tensor of so many elements.
torch::Tensor product_of(const torch::Tensor& a, const torch::Tensor& b, at::IntArrayRef sizes,
                         const torch::Tensor& bias = {}) {
  // Numbers that are to be negated when they are read are negated now.
  const auto x = a.resolve_neg(), y = b.resolve_neg();
  const auto added = bias.defined() ? bias.resolve_neg().contiguous() : bias;
  auto c = at::empty(sizes, x.options());
  const kernels::Product product{.rows = x.size(0),
                                 .columns = y.size(1),
                                 .depth = x.size(1),
                                 .a = strided(x),
                                 .b = strided(y),
                                 .bias = added.defined() ? added.const_data_ptr<float>() : nullptr,
                                 .c = c.mutable_data_ptr<float>()};
  detail::parallel_for(product.rows, kRowsOfThread, [&](int64_t first, int64_t last) {
    kernels::product(product, first, last);
  });
  return c;
}

torch::Tensor as_rows(const torch::Tensor& x) { return x.reshape({-1, x.size(-1)}); }

// Not a view: autograd would forbid to change one in place.
torch::Tensor compute(const torch::Tensor& x, const torch::Tensor& weight,
                      const torch::Tensor& bias) {
  at::DimVector sizes(x.sizes());
  sizes.back() = weight.size(0);
  return product_of(as_rows(x), weight.t(), sizes, bias);
}

class LinearProduct : public torch::autograd::Function<LinearProduct> {
 public:
  static torch::Tensor forward(AutogradContext* context, const torch::Tensor& x,
                               const torch::Tensor& weight,
                               const std::optional<torch::Tensor>& bias) {
    const auto if_needed = [](const torch::Tensor& other, const torch::Tensor& saved) {
      return other.requires_grad() ? saved : torch::Tensor();
    };
    context->save_for_backward({if_needed(weight, x), if_needed(x, weight)});
    context->saved_data["sizes"] = x.sizes();
    context->saved_data["has_bias"] = bias.has_value();
    return compute(x, weight, bias.value_or(torch::Tensor()));
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    const auto &x = saved[0], &weight = saved[1];
    const auto gradient = as_rows(gradients[0]);
    // To be differentiated again, LibTorch's own product.
    const bool again = is_differentiated_again(gradients);
    variable_list result(3);
    if (weight.defined() && context->needs_input_grad(0)) {
      const auto sizes = context->saved_data["sizes"].toIntVector();
      result[0] =
          again ? at::mm(gradient, weight).view(sizes) : product_of(gradient, weight, sizes);
    }
    if (x.defined() && context->needs_input_grad(1)) {
      const auto rows = as_rows(x);
      result[1] = again ? at::mm(gradient.t(), rows)
                        : product_of(gradient.t(), rows, {gradient.size(1), rows.size(1)});
    }
    if (context->saved_data["has_bias"].toBool() && context->needs_input_grad(2)) {
      result[2] = gradient.sum(0);
    }
    return result;
  }
};

bool is_plain(const torch::Tensor& x) {
  return x.scalar_type() == torch::kFloat && x.layout() == torch::kStrided;
}

}  // namespace

bool product_is_faster(const torch::Tensor& x, const torch::Tensor& weight,
                       const torch::Tensor& bias) {
  if (!x.is_cpu() || !is_plain(x) || !prefers_own_products()) return false;
  return weight.numel() >= kSmallestWeight && x.numel() >= kFewestProductRows * x.size(-1) &&
         is_plain(weight) && (!bias.defined() || is_plain(bias)) &&
         product_type(x) == torch::kFloat && !carries_tangent(x) && !carries_tangent(weight) &&
         !carries_tangent(bias);
}

torch::Tensor linear_by_product(const torch::Tensor& x, const torch::Tensor& weight,
                                const torch::Tensor& bias) {
  const bool records =
      torch::GradMode::is_enabled() &&
      (x.requires_grad() || weight.requires_grad() || (bias.defined() && bias.requires_grad()));
  if (!records) return compute(x, weight, bias);
  return LinearProduct::apply(x, weight, if_defined(bias));
}

}  // namespace attend::functional
