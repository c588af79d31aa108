#include "attend/training/muon.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <string_view>
#include <utility>

#include "attend/modules/positional_encoding.h"
#include "detail/check.h"
#include "training/orthogonalized.h"

namespace attend {
namespace {

constexpr auto kMuon = "Muon";

// The tables of words and of positions of a module.
std::set<const void*> tables_of(const torch::nn::Module& module) {
  std::set<const void*> tables;
  const auto add = [&](const torch::Tensor& weight) {
    if (weight.defined()) tables.insert(weight.unsafeGetTensorImpl());
  };
  const auto look_at = [&](const torch::nn::Module& m) {
    if (const auto* embedding = m.as<torch::nn::Embedding>()) add(embedding->weight);
    if (const auto* positions = m.as<PositionalEncoding>()) add(positions->weight);
  };
  look_at(module);
  for (const auto& child : module.modules(/*include_self=*/false)) look_at(*child);
  return tables;
}

// A vocabulary's output layer, by its name in Hugging Face's models and attend's.
bool is_output_layer(const std::string& name) {
  constexpr std::string_view kName = "lm_head.weight";
  return name == kName || name.ends_with("." + std::string(kName));
}

std::vector<NamedParameter> part_of(const torch::nn::Module& module, bool matrices) {
  const auto tables = tables_of(module);
  auto parameters = trainable_parameters(module);
  std::erase_if(parameters, [&](const NamedParameter& parameter) {
    const auto& x = parameter.tensor;
    const bool is_matrix = x.dim() == 2 && x.size(0) > 1 && x.size(1) > 1 &&
                           !tables.contains(x.unsafeGetTensorImpl()) &&
                           !is_output_layer(parameter.name);
    return is_matrix != matrices;
  });
  return parameters;
}

}  // namespace

Muon::Muon(const torch::nn::Module& module, const MuonOptions& options, const AdamOptions& adam)
    : Optimizer(trainable_parameters(module)),
      options_(options),
      weight_decay_(adam.weight_decay),
      matrices_(part_of(module, /*matrices=*/true)),
      adam_(part_of(module, /*matrices=*/false), adam) {
  detail::check_probability(kMuon, "momentum", options.momentum);
  detail::check_positive(kMuon, "iterations", options.iterations);
  TORCH_CHECK_VALUE(options.scale > 0.0, "Muon: expected scale > 0, got ", options.scale);
  for (const auto& matrix : matrices_) means_.push_back(torch::zeros_like(matrix.tensor));
}

void Muon::step(double learning_rate, const torch::Tensor& skip) {
  const torch::NoGradGuard no_grad;
  struct Group {
    std::vector<torch::Tensor> matrices, gradients, means;
  };
  std::map<std::pair<int64_t, int64_t>, Group> groups;  // by shape, rows <= columns
  for (size_t i = 0; i < matrices_.size(); ++i) {
    const auto& matrix = matrices_[i].tensor;
    if (!matrix.grad().defined()) continue;
    auto& group = groups[{std::min(matrix.size(0), matrix.size(1)),
                          std::max(matrix.size(0), matrix.size(1))}];
    group.matrices.push_back(detail::wide(matrix));
    group.gradients.push_back(detail::wide(matrix.grad()));
    group.means.push_back(detail::wide(means_[i]));
  }
  for (auto& [shape, group] : groups) {
    auto gradient = torch::stack(group.gradients);  // [N, rows, columns]
    auto mean = torch::stack(group.means);
    auto rate = torch::full({}, learning_rate, gradient.options());
    if (skip.defined()) {
      // A gradient that is to change nothing need not be finite.
      gradient = torch::where(skip > 0, mean, gradient);
      rate = rate * (1 - skip);
    }
    mean.lerp_(gradient, 1.0 - options_.momentum);
    at::_foreach_copy_(group.means, mean.unbind());
    const double scale = options_.scale * std::sqrt(static_cast<double>(shape.second));
    const auto change =
        detail::orthogonalized(gradient.lerp_(mean, options_.momentum), options_.iterations) *
        (rate * scale);
    if (weight_decay_ > 0.0) at::_foreach_mul_(group.matrices, 1.0 - rate * weight_decay_);
    at::_foreach_sub_(group.matrices, change.unbind());
  }
  adam_.step(learning_rate, skip);
}

std::map<std::string, torch::Tensor> Muon::state() const {
  auto state = adam_.state();
  for (size_t i = 0; i < matrices_.size(); ++i) {
    state["momentum." + matrices_[i].name] = means_[i];
  }
  return state;
}

}  // namespace attend
