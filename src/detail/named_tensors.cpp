#include "detail/named_tensors.h"

#include <fmt/format.h>

#include "detail/check.h"
#include "detail/excerpt.h"

namespace attend::detail {

NamedTensors named_parameters(const torch::nn::Module& module) {
  NamedTensors parameters;
  for (const auto& item : module.named_parameters()) {
    parameters[item.key()] = item.value().detach();
  }
  return parameters;
}

void fill_all(const NamedTensors& to, const NamedTensors& from, std::string_view owner,
              const std::function<void(const std::string&)>& refuse) {
  Problems problems;
  for (const auto& [name, tensor] : to) {
    const auto found = from.find(name);
    if (found == from.end()) {
      problems.add(in_quotes(name) + " is missing");
    } else if (found->second.sizes() != tensor.sizes()) {
      problems.add(fmt::format("{} expected shape {}, got {}", in_quotes(name),
                               shape_string(tensor.sizes()), shape_string(found->second.sizes())));
    }
  }
  for (const auto& [name, tensor] : from) {
    if (!to.contains(name)) {
      problems.add(fmt::format("{} is not used by the {}", in_quotes(name), owner));
    }
  }
  if (!problems.empty()) {
    refuse(problems.text());
    TORCH_INTERNAL_ASSERT(false, "expected an error for ", problems.text());
  }
  const torch::NoGradGuard no_grad;
  for (auto [name, tensor] : to) tensor.copy_(from.at(name));
}

}  // namespace attend::detail
