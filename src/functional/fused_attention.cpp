#include "functional/fused_attention.h"

#include <ATen/SDPBackend.h>
#include <ATen/autocast_mode.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

#include <algorithm>
#include <utility>

#include "functional/attention_formula.h"
#include "functional/derivatives.h"

namespace attend::functional {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

LoweredMask lowered_of(const KernelMask& mask) {
  constexpr auto kAll = AttentionMask::Band::kAll;
  LoweredMask result{.band = {kAll, mask.is_causal ? 0 : kAll}};
  if (!mask.tensor.defined()) return result;
  const bool is_bool = mask.tensor.scalar_type() == torch::kBool;
  (is_bool ? result.allowed : result.bias) = mask.tensor;
  return result;
}

// LibTorch's kernels for other devices. The graph that LibTorch records of its own call is kept,
// and its gradient is that of this function, so that devices, padded sizes and random numbers stay
// LibTorch's matter; only a gradient that is differentiated again comes from the formula.
class DeviceAttentionFunction : public torch::autograd::Function<DeviceAttentionFunction> {
 public:
  static torch::Tensor forward(AutogradContext* context, const torch::Tensor& query,
                               const torch::Tensor& key, const torch::Tensor& value,
                               const std::optional<torch::Tensor>& mask, bool is_causal,
                               double scale, double dropout_p) {
    variable_list saved{query, key, value, mask.value_or(torch::Tensor())};
    for (int64_t i = 0; i < kInputs; ++i) {
      const auto x = saved[static_cast<size_t>(i)];
      const bool draws_again = i == kValue && dropout_p > 0.0;
      saved.push_back(x.defined() ? x.detach().requires_grad_(x.requires_grad() || draws_again)
                                  : x);
    }
    const torch::AutoGradMode record(true);
    const auto* leaves = saved.data() + kInputs;
    saved.push_back(at::scaled_dot_product_attention(
        leaves[0], leaves[1], leaves[2], mask ? std::optional(leaves[3]) : std::nullopt, dropout_p,
        is_causal, scale, query.size(1) != key.size(1)));
    auto output = saved.back().detach();
    // Saved variables are freed with the graph of the caller, and the graph of the call with them.
    context->save_for_backward(std::move(saved));
    context->saved_data["is_causal"] = is_causal;
    context->saved_data["scale"] = scale;
    context->saved_data["dropout_p"] = dropout_p;
    return output;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    const auto begin = saved.begin();
    const variable_list inputs(begin, begin + kInputs), leaves(begin + kInputs, saved.end() - 1);
    auto result = is_differentiated_again(gradients)
                      ? by_formula(context, inputs, gradients, leaves[kValue], saved.back())
                      : by_graph(inputs, leaves, saved.back(), gradients);
    result.resize(kInputs + 3);
    return result;
  }

 private:
  static constexpr int64_t kInputs = 4;  // query, key, value, mask
  static constexpr int64_t kValue = 2;

  static variable_list by_formula(AutogradContext* context, const variable_list& inputs,
                                  const variable_list& gradients, const torch::Tensor& value,
                                  const torch::Tensor& output) {
    const bool is_causal = context->saved_data["is_causal"].toBool();
    const double scale = context->saved_data["scale"].toDouble();
    const double dropout_p = context->saved_data["dropout_p"].toDouble();
    auto kept = torch::Tensor();
    if (dropout_p > 0.0) {
      const auto type = output.scalar_type() == torch::kDouble ? torch::kDouble : torch::kFloat;
      kept = kept_weights(value, output).to(type) / (1.0 - dropout_p);
    }
    return gradients_of_formula(
        inputs,
        [&](const variable_list& x) -> variable_list {
          return {attention_formula({.query = x[0],
                                     .key = x[1],
                                     .value = x[2],
                                     .mask = lowered_of({is_causal, x[3]}),
                                     .scale = scale,
                                     .kept = kept})
                      .output};
        },
        gradients);
  }

  // Which weights the kernel's dropout has kept, [B, H, T, S]. Only the kernel's gradient knows how
  // to draw them again. For an upstream gradient that is one at (t, d) and zero elsewhere, column d
  // of the gradient of the values is the dropped weights of query t: a pass gives as many queries
  // of one head as there are columns, of all groups of heads at once.
  static torch::Tensor kept_weights(const torch::Tensor& value, const torch::Tensor& output) {
    const auto kv_heads = value.size(1), group = output.size(1) / kv_heads;
    const auto target = output.size(2), columns = output.size(3);
    const auto kept = at::empty({output.size(0), output.size(1), target, value.size(2)},
                                output.options().dtype(torch::kBool));
    const auto queries_of = [&](const torch::Tensor& x, int64_t head, int64_t first) {
      return x.unflatten(1, {kv_heads, group})
          .select(2, head)
          .narrow(2, first, std::min(columns, target - first));
    };
    for (int64_t head = 0; head < group; ++head) {
      for (int64_t first = 0; first < target; first += columns) {
        const auto upstream = at::zeros_like(output.detach());
        queries_of(upstream, head, first).diagonal(0, 2, 3).fill_(1.0);
        const auto dropped = torch::autograd::grad({output}, {value}, {upstream},
                                                   /*retain_graph=*/true)[0];  // [B, Hkv, S, Dv]
        const auto queries = queries_of(kept, head, first);
        queries.copy_(dropped.narrow(3, 0, queries.size(2)).transpose(2, 3).ne(0));
      }
    }
    return kept;
  }

  static variable_list by_graph(const variable_list& inputs, const variable_list& leaves,
                                const torch::Tensor& output, const variable_list& gradients) {
    const auto is_wanted = [&](size_t i) {
      return inputs[i].defined() && inputs[i].requires_grad();
    };
    variable_list wanted;
    for (size_t i = 0; i < leaves.size(); ++i) {
      if (is_wanted(i)) wanted.push_back(leaves[i]);
    }
    const auto found = torch::autograd::grad({output}, wanted, {gradients[0]},
                                             /*retain_graph=*/true, /*create_graph=*/false,
                                             /*allow_unused=*/true);
    variable_list result(leaves.size());
    for (size_t i = 0, next = 0; i < leaves.size(); ++i) {
      if (is_wanted(i)) result[i] = found[next++];
    }
    return result;
  }
};

// As autocast casts the inputs of at::scaled_dot_product_attention, where it is on.
torch::Tensor cast_like_autocast(const torch::Tensor& x) {
  if (!x.defined() || x.scalar_type() == torch::kBool) return x;
  const auto device = x.device().type();
  const auto type = product_type(x);
  if (type == x.scalar_type()) return x;
  const auto key = at::autocast::get_autocast_dispatch_key_from_device_type(device);
  const bool is_left_out = c10::impl::tls_is_dispatch_key_excluded(key);
  return is_left_out ? x : at::autocast::cached_cast(type, x, device);
}

}  // namespace

int64_t fused_choice(const AttentionInputs& in, const KernelMask& mask) {
  const auto tensor = mask.tensor.defined() ? std::make_optional(mask.tensor) : std::nullopt;
  return at::_fused_sdp_choice(in.query, in.key, in.value, tensor, in.parameters.dropout_p,
                               mask.is_causal, in.scale, in.group() > 1);
}

torch::Tensor fused_attention(const AttentionInputs& in, const KernelMask& mask) {
  const bool records = in.records_gradients();
  if (records && static_cast<at::SDPBackend>(fused_choice(in, mask)) == at::SDPBackend::math) {
    auto plain = in;
    plain.mask = lowered_of(mask);
    return attention_formula(plain).output;
  }
  if (!records) {
    return at::scaled_dot_product_attention(in.query, in.key, in.value, if_defined(mask.tensor),
                                            in.parameters.dropout_p, mask.is_causal, in.scale,
                                            in.group() > 1);
  }
  const auto query = cast_like_autocast(in.query), key = cast_like_autocast(in.key),
             value = cast_like_autocast(in.value), added = cast_like_autocast(mask.tensor);
  const c10::impl::ExcludeDispatchKeyGuard no_autocast(c10::autocast_dispatch_keyset);
  return DeviceAttentionFunction::apply(query, key, value, if_defined(added), mask.is_causal,
                                        in.scale, in.parameters.dropout_p);
}

}  // namespace attend::functional
