// Attention on the CPU by the kernel that holds the scores of a few queries and keys at a time.
#include <algorithm>
#include <cmath>
#include <utility>

#include "functional/attention_backend.h"
#include "functional/attention_formula.h"
#include "functional/attention_weights.h"
#include "functional/blockwise_kernel.h"
#include "functional/derivatives.h"
#include "functional/dropout_seed.h"

namespace attend::functional {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// The chosen weights out of all, in operations that can be differentiated.
torch::Tensor chosen_of(torch::Tensor all, const ChosenWeights& chosen) {
  const auto select = [&](const torch::Tensor& places, int64_t axis) {
    if (places.defined()) all = all.index_select(axis, places.ge(0).nonzero().flatten());
  };
  select(chosen.query_places, 2);
  if (chosen.is_mean()) return (all * chosen.shares.view({1, -1, 1, 1})).sum(1, /*keepdim=*/true);
  select(chosen.head_places, 1);
  return all;
}

class BlockwiseAttention : public torch::autograd::Function<BlockwiseAttention> {
 public:
  // The output, and the chosen weights if they are wanted. `rest`: what is not differentiated.
  static variable_list forward(AutogradContext* context, const torch::Tensor& query,
                               const torch::Tensor& key, const torch::Tensor& value,
                               const std::optional<torch::Tensor>& sinks,
                               const std::optional<torch::Tensor>& bias,
                               const std::optional<torch::Tensor>& relative_bias,
                               const BlockwiseParameters& rest, const ChosenWeights& chosen) {
    auto parameters = rest;
    parameters.mask.bias = bias.value_or(torch::Tensor());
    parameters.mask.relative_bias = relative_bias.value_or(torch::Tensor());
    const BlockwiseTensors in{query, key, value, sinks.value_or(torch::Tensor())};
    // Not a view for autograd, which would forbid to change it in place.
    const at::AutoDispatchBelowADInplaceOrView guard;
    const auto out = blockwise_forward(in, parameters, /*wants_sums=*/true);
    variable_list results{out.output};
    if (chosen.are_wanted) results.push_back(blockwise_weights(in, parameters, out.sums, chosen));
    save(context, in, parameters, out, chosen);
    return results;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const auto saved = Saved(context);
    variable_list result;
    if (is_differentiated_again(gradients)) {
      result = by_formula(saved, gradients);
    } else {
      const auto g =
          blockwise_backward(saved.in, saved.parameters, saved.out, saved.chosen,
                             {gradients[0], gradients.size() > 1 ? gradients[1] : torch::Tensor()});
      result = {g.of.query, g.of.key, g.of.value, g.of.sinks, g.bias, g.relative_bias};
    }
    result.resize(kInputs + 2);  // none for the parameters and the choice
    return result;
  }

 private:
  static constexpr size_t kInputs = 6;

  static void save(AutogradContext* context, const BlockwiseTensors& in,
                   const BlockwiseParameters& parameters, const BlockwiseOutput& out,
                   const ChosenWeights& chosen) {
    const auto& mask = parameters.mask;
    // Weights that nobody uses have no gradient; zeros for them would be as large.
    context->set_materialize_grads(false);
    context->save_for_backward({in.query, in.key, in.value, in.sinks, out.output, out.sums,
                                mask.allowed, mask.bias, mask.slopes, mask.query_segments,
                                mask.key_segments, chosen.head_places, chosen.query_places,
                                chosen.shares, mask.relative_bias});
    auto& data = context->saved_data;
    data["band_left"] = mask.band.left;
    data["band_right"] = mask.band.right;
    data["scale"] = parameters.scale;
    data["soft_cap"] = parameters.soft_cap;
    data["dropout_threshold"] = static_cast<int64_t>(parameters.dropout.threshold);
    data["dropout_seed"] = static_cast<int64_t>(parameters.dropout.seed);
    data["are_wanted"] = chosen.are_wanted;
  }

  // What `save` has kept.
  struct Saved {
    BlockwiseTensors in;
    BlockwiseOutput out;
    BlockwiseParameters parameters;
    ChosenWeights chosen;

    explicit Saved(AutogradContext* context) {
      const auto x = context->get_saved_variables();
      const auto number = [&](const char* name) { return context->saved_data[name].toInt(); };
      in = {x[0], x[1], x[2], x[3]};
      out = {x[4], x[5]};
      parameters = {.mask = {.band = {number("band_left"), number("band_right")},
                             .allowed = x[6],
                             .bias = x[7],
                             .slopes = x[8],
                             .relative_bias = x[14],
                             .query_segments = x[9],
                             .key_segments = x[10]},
                    .scale = context->saved_data["scale"].toDouble(),
                    .soft_cap = context->saved_data["soft_cap"].toDouble(),
                    .dropout = {static_cast<uint32_t>(number("dropout_threshold")),
                                static_cast<uint64_t>(number("dropout_seed"))}};
      chosen = {.are_wanted = context->saved_data["are_wanted"].toBool(),
                .head_places = x[11],
                .query_places = x[12],
                .shares = x[13]};
    }
  };

  static variable_list by_formula(const Saved& saved, const variable_list& gradients) {
    const auto& in = saved.in;
    return gradients_of_formula(
        {in.query, in.key, in.value, in.sinks, saved.parameters.mask.bias,
         saved.parameters.mask.relative_bias},
        [&](const variable_list& x) -> variable_list {
          AttentionInputs inputs{
              .query = at_least_float32(x[0]),
              .key = at_least_float32(x[1]),
              .value = at_least_float32(x[2]),
              .mask = saved.parameters.mask,
              .scale = saved.parameters.scale,
              .parameters = {.soft_cap = saved.parameters.soft_cap, .sinks = x[3]},
              .kept =
                  blockwise_kept(at_least_float32(x[0]), x[1].size(2), saved.parameters.dropout)};
          inputs.mask.bias = x[4];
          inputs.mask.relative_bias = x[5];
          inputs.mask = inputs.mask.dense(inputs.shape());
          auto [output, weights] = attention_formula(inputs);
          if (!saved.chosen.are_wanted) return {output};
          return {output, chosen_of(weights, saved.chosen)};
        },
        gradients);
  }
};

bool takes_blockwise(const AttentionInputs& in) {
  const auto type = in.query.scalar_type();
  return in.query.is_cpu() && in.query.layout() == torch::kStrided &&
         (type == torch::kFloat || type == torch::kDouble || in.is_bfloat16) &&
         type == in.computed_type() && in.query.numel() > 0 && in.key.numel() > 0 &&
         in.value.numel() > 0;
}

BlockwiseParameters parameters_of(const AttentionInputs& in) {
  BlockwiseParameters result{in.mask, in.scale, in.parameters.soft_cap, {}};
  result.mask.memo = nullptr;
  result.mask.allowed = with_readable_rows(in.mask.allowed);
  result.mask.bias = with_readable_rows(in.mask.bias);
  if (in.mask.relative_bias.defined()) {
    result.mask.relative_bias = in.mask.relative_bias.resolve_neg();
  }
  const double p = in.parameters.dropout_p;
  if (p > 0.0) {
    const auto threshold = std::min(std::round(p * 65536.0), 65535.0);
    result.dropout = {static_cast<uint32_t>(threshold), draw_dropout_seed()};
  }
  return result;
}

// The chosen weights in the order in which the request names heads and queries.
torch::Tensor in_order_of(const WeightsRequest& request, const ChosenWeights& chosen,
                          torch::Tensor weights) {
  const auto put_in_order = [&](const std::vector<int64_t>& choices, const torch::Tensor& places,
                                int64_t axis) {
    if (!places.defined()) return;
    const auto order = places.index_select(0, chosen_indices(choices, places.size(0), torch::kCPU));
    const auto as_they_lie =
        torch::arange(weights.size(axis), weights.options().dtype(torch::kLong));
    if (!order.equal(as_they_lie)) weights = weights.index_select(axis, order);
  };
  put_in_order(request.queries(), chosen.query_places, 2);
  if (chosen.is_mean()) return weights.squeeze(1);
  put_in_order(request.heads(), chosen.head_places, 1);
  return weights;
}

AttentionOutput run_with_weights(const AttentionInputs& in, const WeightsRequest& request) {
  const auto parameters = parameters_of(in);
  const auto chosen = chosen_weights(request, in.query.size(1), in.query.size(2), in.number_type());
  auto sinks = in.parameters.sinks;
  if (sinks.defined()) sinks = sinks.to(in.number_type()).contiguous();
  // Copies, where these are needed, are made here, so that autograd sees them.
  const BlockwiseTensors tensors{with_contiguous_rows(in.query), with_contiguous_rows(in.key),
                                 with_contiguous_rows(in.value), sinks};
  AttentionOutput result;
  if (in.records_gradients()) {
    const auto outputs =
        BlockwiseAttention::apply(tensors.query, tensors.key, tensors.value, if_defined(sinks),
                                  if_defined(parameters.mask.bias),
                                  if_defined(parameters.mask.relative_bias), parameters, chosen);
    result.output = outputs[0];
    if (chosen.are_wanted) result.weights = outputs[1];
  } else {
    const auto out = blockwise_forward(tensors, parameters, chosen.are_wanted);
    result.output = out.output;
    if (chosen.are_wanted) {
      result.weights = blockwise_weights(tensors, parameters, out.sums, chosen);
    }
  }
  if (chosen.are_wanted) result.weights = in_order_of(request, chosen, result.weights);
  return result;
}

torch::Tensor run_blockwise(const AttentionInputs& in) {
  return run_with_weights(in, WeightsRequest::kNone).output;
}

std::string describe_blockwise(const AttentionInputs& in) {
  const auto& mask = in.mask;
  return (mask.band.is_everything() ? "" : ", the band as two numbers") +
         described_part("mask", mask.allowed) + described_part("bias", mask.bias) +
         described_part("slopes", mask.slopes) +
         described_part("relative bias", mask.relative_bias) +
         described_part("segments", mask.key_segments);
}

}  // namespace

const AttentionBackend kBlockwiseAttention{.name = "blockwise kernel",
                                           .extras = kDropout | kLearnedBias | kSoftCap | kSinks,
                                           .takes_described_masks = true,
                                           .takes_bfloat16 = true,
                                           .takes = takes_blockwise,
                                           .run = run_blockwise,
                                           .run_with_weights = run_with_weights,
                                           .describe = describe_blockwise};

}  // namespace attend::functional
