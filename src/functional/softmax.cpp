#include "functional/softmax.h"

#include <ATen/core/grad_mode.h>

#include <limits>

#include "functional/derivatives.h"

namespace attend::functional {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr double kHidden = -std::numeric_limits<double>::infinity();

// Whether some row may be -infinity alone. Most masks leave the first key to every query, and then
// one look at each row tells.
bool may_have_empty_rows(const torch::Tensor& scores) {
  const auto type = scores.scalar_type();
  if (!scores.is_cpu() || !scores.is_contiguous() || scores.is_neg() ||
      (type != torch::kFloat && type != torch::kDouble)) {
    return true;
  }
  return AT_DISPATCH_FLOATING_TYPES(type, "softmax_or_zero", [&] {
    const auto* first = scores.const_data_ptr<scalar_t>();
    const auto* const end = first + scores.numel();
    while (first != end && *first != kHidden) first += scores.size(-1);
    return first != end;
  });
}

// at::_safe_softmax, the same bits, in fewer passes over the scores.
torch::Tensor compute_softmax(const torch::Tensor& scores) {
  if (scores.numel() == 0) return at::empty_like(scores);
  auto weights = at::_softmax(scores, -1, /*half_to_float=*/false);
  if (!may_have_empty_rows(scores)) return weights;
  const auto is_empty = scores.amax(-1, /*keepdim=*/true).eq(kHidden);
  return weights.masked_fill_(is_empty, 0.0);
}

// Its backward pass has every derivative: LibTorch's own, _softmax_backward_data, has none in
// forward mode.
class SafeSoftmax : public torch::autograd::Function<SafeSoftmax> {
 public:
  static torch::Tensor forward(AutogradContext* context, const torch::Tensor& scores) {
    auto weights = compute_softmax(scores);
    context->save_for_backward({weights});
    return weights;
  }
  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const auto weights = context->get_saved_variables()[0];
    const auto& gradient = gradients[0];
    if (!is_differentiated_again(gradients)) {
      return {at::_softmax_backward_data(gradient, weights, -1, weights.scalar_type())};
    }
    return {weights * (gradient - (weights * gradient).sum(-1, /*keepdim=*/true))};
  }
};

// The same by operations on elements, for scores that carry a tangent.
torch::Tensor softmax_by_elements(const torch::Tensor& scores) {
  const auto shift = [&] {  // changes no result, so no derivative has to go through it
    const torch::NoGradGuard no_gradient;
    const c10::AutoFwGradMode no_tangent(false);
    const auto greatest = scores.amax(-1, /*keepdim=*/true);
    return greatest.masked_fill(greatest.eq(kHidden), 0.0);
  }();
  const auto exponentials = (scores - shift).exp();
  const auto total = exponentials.sum(-1, /*keepdim=*/true);
  return exponentials / total.masked_fill(total.eq(0.0), 1.0);
}

}  // namespace

torch::Tensor softmax_or_zero(const torch::Tensor& scores) {
  if (carries_tangent(scores)) return softmax_by_elements(scores);
  const bool records = torch::GradMode::is_enabled() && scores.requires_grad();
  return records ? SafeSoftmax::apply(scores) : compute_softmax(scores);
}

}  // namespace attend::functional
