#include "functional/fused_attention.h"

#include <ATen/SDPBackend.h>
#include <ATen/autocast_mode.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

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
                               double scale) {
    variable_list saved{query, key, value, mask.value_or(torch::Tensor())};
    for (int64_t i = 0; i < kInputs; ++i) {
      const auto x = saved[static_cast<size_t>(i)];
      saved.push_back(x.defined() ? x.detach().requires_grad_(x.requires_grad()) : x);
    }
    const torch::AutoGradMode record(true);
    const auto* leaves = saved.data() + kInputs;
    saved.push_back(at::scaled_dot_product_attention(
        leaves[0], leaves[1], leaves[2], mask ? std::optional(leaves[3]) : std::nullopt,
        /*dropout_p=*/0.0, is_causal, scale, query.size(1) != key.size(1)));
    auto output = saved.back().detach();
    // Saved variables are freed with the graph of the caller, and the graph of the call with them.
    context->save_for_backward(std::move(saved));
    context->saved_data["is_causal"] = is_causal;
    context->saved_data["scale"] = scale;
    return output;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    const auto begin = saved.begin();
    auto result = is_differentiated_again(gradients)
                      ? by_formula(context, {begin, begin + kInputs}, gradients)
                      : by_graph({begin + kInputs, begin + 2 * kInputs}, saved.back(), gradients);
    result.resize(kInputs + 2);
    return result;
  }

 private:
  static constexpr int64_t kInputs = 4;  // query, key, value, mask

  static variable_list by_formula(AutogradContext* context, const variable_list& inputs,
                                  const variable_list& gradients) {
    const bool is_causal = context->saved_data["is_causal"].toBool();
    const double scale = context->saved_data["scale"].toDouble();
    return gradients_of_formula(
        inputs,
        [&](const variable_list& x) -> variable_list {
          return {attention_formula({.query = x[0],
                                     .key = x[1],
                                     .value = x[2],
                                     .mask = lowered_of({is_causal, x[3]}),
                                     .scale = scale})
                      .output};
        },
        gradients);
  }

  static variable_list by_graph(const variable_list& leaves, const torch::Tensor& output,
                                const variable_list& gradients) {
    variable_list wanted;
    for (const auto& x : leaves) {
      if (x.defined() && x.requires_grad()) wanted.push_back(x);
    }
    const auto found = torch::autograd::grad({output}, wanted, {gradients[0]},
                                             /*retain_graph=*/true, /*create_graph=*/false,
                                             /*allow_unused=*/true);
    variable_list result(leaves.size());
    for (size_t i = 0, next = 0; i < leaves.size(); ++i) {
      if (leaves[i].defined() && leaves[i].requires_grad()) result[i] = found[next++];
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
  const bool records = in.records_gradients() && in.parameters.dropout_p == 0.0;
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
                                        in.scale);
}

}  // namespace attend::functional
