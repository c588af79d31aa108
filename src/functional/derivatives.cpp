#include "functional/derivatives.h"

#include <algorithm>

namespace attend::functional {

using torch::autograd::variable_list;

bool carries_tangent(const torch::Tensor& x) {
  return x.defined() && x._fw_grad(/*level=*/0).defined();
}

bool is_differentiated_again(const variable_list& gradients) {
  return torch::GradMode::is_enabled() || std::ranges::any_of(gradients, carries_tangent);
}

variable_list gradients_of_formula(
    const variable_list& inputs, const std::function<variable_list(const variable_list&)>& formula,
    const variable_list& gradients) {
  const bool records = torch::GradMode::is_enabled();
  const torch::AutoGradMode record_formula(true);
  // Views: the graph of an input may lead to another one, whose gradient would then hold this one's
  // too.
  variable_list own, wanted;
  for (const auto& input : inputs) {
    const bool is_wanted = input.defined() && input.requires_grad();
    own.push_back(is_wanted ? input.view_as(input) : input);
    if (is_wanted) wanted.push_back(own.back());
  }
  const auto all_outputs = formula(own);
  variable_list outputs, given;
  for (size_t i = 0; i < all_outputs.size(); ++i) {
    if (!gradients[i].defined() || !all_outputs[i].requires_grad()) continue;
    outputs.push_back(all_outputs[i]);
    given.push_back(gradients[i].to(all_outputs[i].scalar_type()));
  }
  variable_list result(inputs.size());
  if (outputs.empty() || wanted.empty()) return result;
  const auto found = torch::autograd::grad(outputs, wanted, given, /*retain_graph=*/records,
                                           /*create_graph=*/records, /*allow_unused=*/true);
  for (size_t i = 0, next = 0; i < inputs.size(); ++i) {
    if (inputs[i].defined() && inputs[i].requires_grad()) result[i] = found[next++];
  }
  return result;
}

}  // namespace attend::functional
