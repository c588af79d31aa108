#include "functional/attention_weights.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "detail/check.h"
#include "functional/attention_backend.h"
#include "functional/attention_formula.h"
#include "functional/derivatives.h"

namespace attend {
namespace {

void check_choices(const char* who, const char* what, const std::vector<int64_t>& choices,
                   int64_t size) {
  for (const auto choice : choices) {
    TORCH_CHECK_VALUE(choice >= -size && choice < size, who, ": expected ", what,
                      " of the weights request in [", -size, ", ", size, "), got ", choice);
  }
}

}  // namespace

WeightsRequest WeightsRequest::of_layer(int64_t layer, int64_t num_layers) const {
  check_choices("WeightsRequest", "layers", layers_, num_layers);
  const bool chosen = layers_.empty() || std::ranges::any_of(layers_, [&](int64_t choice) {
                        return choice == layer || choice + num_layers == layer;
                      });
  return chosen ? *this : WeightsRequest();
}

namespace functional {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// So many scores at a time.
constexpr int64_t kScoresAtOnce = 1 << 22;

// A part of a mask or of something else that may be broadcast along `axis`.
torch::Tensor part_along(const torch::Tensor& x, int64_t axis, const torch::Tensor& chosen) {
  return !x.defined() || x.size(axis) == 1 ? x : x.index_select(axis, chosen);
}

AttentionInputs with_heads_only(const AttentionInputs& in, const std::vector<int64_t>& choices) {
  const auto chosen = chosen_indices(choices, in.query.size(1), in.query.device());
  auto result = in;
  result.query = in.query.index_select(1, chosen);
  result.key = in.key.index_select(1, chosen.div(in.group(), "floor"));
  result.mask.allowed = part_along(in.mask.allowed, 1, chosen);
  result.mask.bias = part_along(in.mask.bias, 1, chosen);
  if (in.parameters.sinks.defined()) {
    result.parameters.sinks = in.parameters.sinks.index_select(0, chosen);
  }
  return result;
}

AttentionInputs with_queries_only(const AttentionInputs& in, const std::vector<int64_t>& choices) {
  const auto chosen = chosen_indices(choices, in.query.size(2), in.query.device());
  auto result = in;
  result.query = in.query.index_select(2, chosen);
  result.mask = in.mask.rows(in.shape(), chosen);
  return result;
}

AttentionInputs with_queries_only(const AttentionInputs& in, int64_t begin, int64_t count) {
  auto result = in;
  result.query = in.query.narrow(2, begin, count);
  result.mask = in.mask.part(in.shape(), begin, count, 0, in.key.size(2), in.query.device());
  return result;
}

int64_t queries_at_once(const AttentionInputs& in) {
  const auto [batch, heads, target, source] = in.shape();
  const auto scores_of_query = std::max<int64_t>(batch * heads * source, 1);
  return std::clamp<int64_t>(kScoresAtOnce / scores_of_query, 1, std::max<int64_t>(target, 1));
}

// Calls f(block, first query, number of queries) for blocks of queries.
template <typename F>
void for_each_block(const AttentionInputs& in, const F& f) {
  const auto target = in.query.size(2), at_once = queries_at_once(in);
  for (int64_t begin = 0; begin < target; begin += at_once) {
    const auto count = std::min(at_once, target - begin);
    f(with_queries_only(in, begin, count), begin, count);
  }
}

torch::Tensor weights_by_blocks(const AttentionInputs& in, bool mean) {
  const auto of = [&](const AttentionInputs& block) {
    const auto weights = formula_weights(block);
    return mean ? weights.mean(1) : weights;
  };
  const auto target = in.query.size(2);
  if (queries_at_once(in) >= target) return of(in);
  torch::Tensor result;
  for_each_block(in, [&](const AttentionInputs& block, int64_t begin, int64_t count) {
    const auto weights = of(block);
    if (!result.defined()) {
      at::DimVector sizes(weights.sizes());
      sizes[sizes.size() - 2] = target;
      result = at::empty(sizes, weights.options());
    }
    result.narrow(-2, begin, count).copy_(weights);
  });
  return result;
}

bool is_recorded(const torch::Tensor& x) { return x.defined() && x.requires_grad(); }

// The mean over the heads whose gradient computes the weights again, block by block.
class MeanWeights : public torch::autograd::Function<MeanWeights> {
 public:
  // `in` again without what is differentiated, which comes as arguments of its own.
  static torch::Tensor forward(AutogradContext* context, const torch::Tensor& query,
                               const torch::Tensor& key, const std::optional<torch::Tensor>& bias,
                               const std::optional<torch::Tensor>& sinks,
                               const AttentionInputs& in) {
    context->save_for_backward({query, key, bias.value_or(torch::Tensor()),
                                sinks.value_or(torch::Tensor()), in.mask.allowed});
    context->saved_data["band_left"] = in.mask.band.left;
    context->saved_data["band_right"] = in.mask.band.right;
    context->saved_data["scale"] = in.scale;
    context->saved_data["soft_cap"] = in.parameters.soft_cap;
    return weights_by_blocks(in, /*mean=*/true);
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    const auto inputs_of = [&](const variable_list& x) {
      return AttentionInputs{
          .query = x[0],
          .key = x[1],
          .value = {},
          .mask = {.band = {context->saved_data["band_left"].toInt(),
                            context->saved_data["band_right"].toInt()},
                   .allowed = saved[kInputs],
                   .bias = x[2]},
          .scale = context->saved_data["scale"].toDouble(),
          .parameters = {.soft_cap = context->saved_data["soft_cap"].toDouble(), .sinks = x[3]}};
    };
    const variable_list inputs(saved.begin(), saved.begin() + kInputs);
    auto result = is_differentiated_again(gradients)
                      ? gradients_of_formula(
                            inputs,
                            [&](const variable_list& x) -> variable_list {
                              return {formula_weights(inputs_of(x)).mean(1)};
                            },
                            gradients)
                      : by_blocks(inputs, inputs_of, gradients[0]);
    result.emplace_back();
    return result;
  }

 private:
  static constexpr int kInputs = 4;  // query, key, bias, sinks

  template <typename InputsOf>
  static variable_list by_blocks(const variable_list& saved, const InputsOf& inputs_of,
                                 const torch::Tensor& gradient) {
    const torch::AutoGradMode record(true);
    variable_list inputs, wanted;
    for (const auto& x : saved) {
      inputs.push_back(x.defined() ? x.detach().requires_grad_(x.requires_grad()) : x);
      if (is_recorded(inputs.back())) wanted.push_back(inputs.back());
    }
    variable_list sums(wanted.size());
    for_each_block(
        inputs_of(inputs), [&](const AttentionInputs& block, int64_t begin, int64_t count) {
          const auto found = torch::autograd::grad({formula_weights(block).mean(1)}, wanted,
                                                   {gradient.narrow(1, begin, count)},
                                                   /*retain_graph=*/false, /*create_graph=*/false,
                                                   /*allow_unused=*/true);
          for (size_t i = 0; i < found.size(); ++i) {
            if (!found[i].defined()) continue;
            sums[i] = sums[i].defined() ? sums[i] + found[i] : found[i];
          }
        });
    variable_list result(inputs.size());
    for (size_t i = 0, next = 0; i < inputs.size(); ++i) {
      if (is_recorded(inputs[i])) result[i] = sums[next++];
    }
    return result;
  }
};

}  // namespace

torch::Tensor requested_weights(const AttentionInputs& in, const WeightsRequest& request) {
  auto chosen = request.heads().empty() ? in : with_heads_only(in, request.heads());
  if (!request.queries().empty()) chosen = with_queries_only(chosen, request.queries());
  const bool mean = request.kind() == WeightsRequest::kMean;
  const auto &bias = chosen.mask.bias, &sinks = chosen.parameters.sinks;
  const bool records =
      torch::GradMode::is_enabled() && (is_recorded(chosen.query) || is_recorded(chosen.key) ||
                                        is_recorded(bias) || is_recorded(sinks));
  if (has_tangents(chosen)) {
    return mean ? formula_weights(chosen).mean(1) : formula_weights(chosen);
  }
  if (!records) return weights_by_blocks(chosen, mean);
  if (!mean) return formula_weights(chosen);
  return MeanWeights::apply(chosen.query, chosen.key, if_defined(bias), if_defined(sinks), chosen);
}

torch::Tensor requested_of(const torch::Tensor& all, const WeightsRequest& request) {
  auto result = all;
  if (!request.heads().empty()) {
    result = result.index_select(1, chosen_indices(request.heads(), all.size(1), all.device()));
  }
  if (!request.queries().empty()) {
    result = result.index_select(2, chosen_indices(request.queries(), all.size(2), all.device()));
  }
  return request.kind() == WeightsRequest::kMean ? result.mean(1) : result;
}

torch::Tensor chosen_indices(const std::vector<int64_t>& choices, int64_t size,
                             torch::Device device) {
  auto from_start = choices;
  for (auto& choice : from_start) {
    if (choice < 0) choice += size;
  }
  return torch::tensor(from_start, torch::kLong).to(device);
}

void check_request(const char* who, const WeightsRequest& request, int64_t heads, int64_t target,
                   bool has_scores) {
  if (request.is_none()) return;
  TORCH_CHECK_VALUE(has_scores || request.values() == WeightsRequest::Values::kWeights, who,
                    ": expected a request for weights, got one for scores or log-probabilities, "
                    "which additive attention alone returns");
  check_choices(who, "heads", request.heads(), heads);
  check_choices(who, "queries", request.queries(), target);
}

}  // namespace functional
}  // namespace attend
