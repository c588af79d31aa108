#include "checkpoint/weights.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <set>

#include "attend/checkpoint/file_error.h"
#include "detail/check.h"

namespace attend::detail {

NamedTensors named_weights(const torch::nn::Module& module) {
  NamedTensors weights;
  for (const auto& item : module.named_parameters()) weights[item.key()] = item.value().detach();
  for (const auto& item : module.named_buffers()) weights[item.key()] = item.value().detach();
  return weights;
}

void load_weights(const std::filesystem::path& path, const NamedTensors& file,
                  torch::nn::Module& module, const TiedNames& tied, const NamedTensors& derived) {
  std::map<std::string, std::string> own_name;  // of each alias
  for (const auto& names : tied) {
    for (const auto& name : names) own_name[name] = names.front();
  }
  const auto wanted = named_weights(module);
  NamedTensors found;
  std::vector<std::string> problems;
  for (const auto& [name, tensor] : file) {
    if (const auto known = derived.find(name); known != derived.end()) {
      const auto& expected = known->second;
      if (tensor.sizes() != expected.sizes() ||
          !torch::allclose(tensor.to(expected.scalar_type()), expected, 1e-5, 1e-5)) {
        problems.push_back(fmt::format("{} is not what the configuration derives", name));
      }
      continue;
    }
    const auto alias = own_name.find(name);
    const auto& own = alias == own_name.end() ? name : alias->second;
    const auto target = wanted.find(own);
    if (target == wanted.end()) {
      problems.push_back(fmt::format("{} is not used by the model", name));
      continue;
    }
    if (tensor.sizes() != target->second.sizes()) {
      problems.push_back(fmt::format("{} expected shape {}, got {}", name,
                                     shape_string(target->second.sizes()),
                                     shape_string(tensor.sizes())));
      continue;
    }
    const auto [first, is_new] = found.emplace(own, tensor);
    if (!is_new && !torch::equal(first->second, tensor)) {
      problems.push_back(fmt::format("{} differs from the tensor it is tied to", name));
    }
  }
  for (const auto& [name, tensor] : wanted) {
    if (!found.contains(name)) problems.push_back(fmt::format("{} is missing", name));
  }
  if (!problems.empty()) throw FileError(path, fmt::format("{}", fmt::join(problems, "; ")));

  const torch::NoGradGuard no_grad;
  for (const auto& [name, target] : wanted) {
    auto destination = target;  // shares the module's storage
    destination.copy_(found.at(name));
  }
}

}  // namespace attend::detail
