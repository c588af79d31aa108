#include "functional/linear_product.h"

#include <algorithm>
#include <optional>

#include "detail/parallel.h"
#include "functional/derivatives.h"
#include "functional/products.h"
#include "kernels/cpu/product.h"

namespace attend::functional {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Below it, what LibTorch takes for a call is most of the time.
constexpr int64_t kSmallestWeight = 1024;

// So many multiplications are worth a thread.
constexpr int64_t kWorkOfThread = 1 << 19;

kernels::Strided strided(const torch::Tensor& x) {
  return {x.const_data_ptr<float>(), x.stride(0), x.stride(1)};
}

kernels::Strided transposed(const torch::Tensor& x) {
  return {x.const_data_ptr<float>(), x.stride(1), x.stride(0)};
}

torch::Tensor as_rows(const torch::Tensor& x) {
  // Numbers that are to be negated when they are read are negated now.
  return (x.dim() == 2 ? x : x.reshape({-1, x.size(-1)})).resolve_neg();
}

void multiply(const kernels::Product& product) {
  const auto work = product.rows * product.columns * std::max<int64_t>(product.depth, 1);
  const auto parts = std::clamp<int64_t>(work / kWorkOfThread, 1, at::get_num_threads());
  detail::parallel_for(parts, 1, [&](int64_t first, int64_t last) {
    for (int64_t part = first; part < last; ++part) kernels::product(product, part, parts);
  });
}

// Not a view: autograd would forbid to change one in place.
torch::Tensor compute(const torch::Tensor& x, const torch::Tensor& weight,
                      const torch::Tensor& bias) {
  const auto rows = as_rows(x), columns = as_rows(weight);
  const auto added = bias.defined() ? bias.resolve_neg().contiguous() : bias;
  at::DimVector sizes(x.sizes());
  sizes.back() = weight.size(0);
  auto y = at::empty(sizes, x.options());
  multiply({.rows = rows.size(0),
            .columns = weight.size(0),
            .depth = weight.size(1),
            .a = strided(rows),
            .b = transposed(columns),
            .bias = added.defined() ? added.const_data_ptr<float>() : nullptr,
            .c = y.mutable_data_ptr<float>()});
  return y;
}

// Of y = x weight^T, all by rows.
torch::Tensor gradient_of_x(const torch::Tensor& gradient, const torch::Tensor& weight) {
  auto result = at::empty({gradient.size(0), weight.size(1)}, gradient.options());
  multiply({.rows = gradient.size(0),
            .columns = weight.size(1),
            .depth = weight.size(0),
            .a = strided(gradient),
            .b = strided(weight),
            .bias = nullptr,
            .c = result.mutable_data_ptr<float>()});
  return result;
}

torch::Tensor gradient_of_weight(const torch::Tensor& gradient, const torch::Tensor& x) {
  auto result = at::empty({gradient.size(1), x.size(1)}, gradient.options());
  multiply({.rows = gradient.size(1),
            .columns = x.size(1),
            .depth = x.size(0),
            .a = transposed(gradient),
            .b = strided(x),
            .bias = nullptr,
            .c = result.mutable_data_ptr<float>()});
  return result;
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
    // LibTorch's own products can be differentiated again.
    const bool by_libtorch = !own_products().gradients || is_differentiated_again(gradients);
    variable_list result(3);
    if (weight.defined() && context->needs_input_grad(0)) {
      const auto of_x =
          by_libtorch ? at::mm(gradient, weight) : gradient_of_x(gradient, as_rows(weight));
      result[0] = of_x.view(context->saved_data["sizes"].toIntVector());
    }
    if (x.defined() && context->needs_input_grad(1)) {
      const auto rows = as_rows(x);
      // Of a single row it is only written, which LibTorch does faster.
      result[1] = by_libtorch || rows.size(0) == 1 ? at::mm(gradient.t(), rows)
                                                   : gradient_of_weight(gradient, rows);
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
  if (!x.is_cpu() || !is_plain(x) || x.numel() == 0) return false;
  if (x.numel() / x.size(-1) > own_products().rows) return false;
  return weight.numel() >= kSmallestWeight && is_plain(weight) &&
         (!bias.defined() || is_plain(bias)) && product_type(x) == torch::kFloat &&
         !carries_tangent(x) && !carries_tangent(weight) && !carries_tangent(bias);
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
