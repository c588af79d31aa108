#include "functional/fused_attention.h"

#include <ATen/SDPBackend.h>
#include <ATen/autocast_mode.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

#include <algorithm>
#include <limits>
#include <tuple>
#include <utility>

#include "functional/attention_formula.h"
#include "functional/derivatives.h"
#include "functional/finite.h"

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

// One call of LibTorch's kernel: some queries and keys of some sentences, all heads.
struct KernelCall {
  int64_t batch, batches;
  int64_t query, queries;
  int64_t key, keys;
  bool is_causal;

  torch::Tensor of_queries(const torch::Tensor& x) const {
    return x.narrow(0, batch, batches).narrow(2, query, queries);
  }
  torch::Tensor of_keys(const torch::Tensor& x) const {
    return x.narrow(0, batch, batches).narrow(2, key, keys);
  }
};

// One attention by LibTorch's kernel, as a whole or, if `sentences` is not empty, sentence by
// sentence.
struct KernelAttention {
  bool is_causal;
  torch::Tensor mask;  // undefined, or a bias; with sentences their keys, bool
  std::vector<KeyRange> sentences;
  double scale;

  std::vector<KernelCall> calls(const torch::Tensor& query, const torch::Tensor& key) const {
    const auto target = query.size(2);
    if (sentences.empty()) {
      return {{0, query.size(0), 0, target, 0, key.size(2), is_causal}};
    }
    std::vector<KernelCall> result;
    // Neighbours with the same keys go together.
    for (size_t i = 0, next = 0; i < sentences.size(); i = next) {
      const auto [begin, end] = sentences[i];
      while (next < sentences.size() && sentences[next].begin == begin &&
             sentences[next].end == end) {
        ++next;
      }
      const auto batch = static_cast<int64_t>(i), batches = static_cast<int64_t>(next - i);
      const auto length = end - begin;
      if (length == 0) continue;
      result.push_back({batch, batches, begin, length, begin, length, /*is_causal=*/true});
      if (end < target) {
        result.push_back({batch, batches, end, target - end, begin, length, /*is_causal=*/false});
      }
    }
    return result;
  }

  // What the kernel adds to the scores. The keys of sentences need nothing.
  std::optional<torch::Tensor> bias() const {
    return sentences.empty() ? if_defined(mask) : std::nullopt;
  }

  LoweredMask lowered() const { return lowered_of({is_causal, mask}); }
};

// In the memory order of [B, L, H, D], as the kernel's own output.
torch::Tensor zero_heads(const torch::Tensor& like) {
  return at::zeros({like.size(0), like.size(2), like.size(1), like.size(3)}, like.options())
      .transpose(1, 2);
}

// The kernel of 16-bit numbers may give a finite output for a score of infinity. Its logsumexp,
// [B, H, T], is not finite then, and the output of such a query becomes NaN, as by the formula.
void show_infinite_scores(torch::Tensor& output, const torch::Tensor& log_sums) {
  if (output.scalar_type() != torch::kBFloat16 && output.scalar_type() != torch::kHalf) return;
  if (all_finite(log_sums.transpose(1, 2))) return;  // as it lies in memory
  output.masked_fill_(log_sums.isfinite().logical_not().unsqueeze(-1),
                      std::numeric_limits<double>::quiet_NaN());
}

// The output, and for each call the logarithms of its sums.
std::pair<torch::Tensor, variable_list> run_kernel(const torch::Tensor& query,
                                                   const torch::Tensor& key,
                                                   const torch::Tensor& value,
                                                   const KernelAttention& attention) {
  const auto bias = attention.bias();
  const auto run = [&](const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v,
                       bool is_causal) {
    auto result = at::_scaled_dot_product_flash_attention_for_cpu(q, k, v, /*dropout_p=*/0.0,
                                                                  is_causal, bias, attention.scale);
    show_infinite_scores(std::get<0>(result), std::get<1>(result));
    return result;
  };
  if (attention.sentences.empty()) {
    auto [output, log_sums] = run(query, key, value, attention.is_causal);
    return {output, {log_sums}};
  }
  auto output = zero_heads(query);
  variable_list all_log_sums;
  for (const auto& call : attention.calls(query, key)) {
    auto [part, log_sums] =
        run(call.of_queries(query), call.of_keys(key), call.of_keys(value), call.is_causal);
    call.of_queries(output).copy_(part);
    all_log_sums.push_back(std::move(log_sums));
  }
  return {std::move(output), std::move(all_log_sums)};
}

class KernelAttentionFunction : public torch::autograd::Function<KernelAttentionFunction> {
 public:
  static torch::Tensor forward(AutogradContext* context, const torch::Tensor& query,
                               const torch::Tensor& key, const torch::Tensor& value,
                               const KernelAttention& attention) {
    // Not a view for autograd, which would forbid to change it in place.
    const at::AutoDispatchBelowADInplaceOrView guard;
    auto [output, log_sums] = run_kernel(query, key, value, attention);
    variable_list saved{query, key, value, attention.mask, output};
    saved.insert(saved.end(), log_sums.begin(), log_sums.end());
    context->save_for_backward(std::move(saved));
    context->saved_data["is_causal"] = attention.is_causal;
    context->saved_data["scale"] = attention.scale;
    std::vector<int64_t> bounds;
    for (const auto& [begin, end] : attention.sentences) {
      bounds.insert(bounds.end(), {begin, end});
    }
    context->saved_data["bounds"] = std::move(bounds);
    return output;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    const auto &query = saved[0], &key = saved[1], &value = saved[2], &output = saved[4];
    KernelAttention attention{context->saved_data["is_causal"].toBool(),
                              saved[3],
                              {},
                              context->saved_data["scale"].toDouble()};
    const auto bounds = context->saved_data["bounds"].toIntVector();
    for (size_t i = 0; i < bounds.size(); i += 2) {
      attention.sentences.push_back({bounds[i], bounds[i + 1]});
    }
    if (is_differentiated_again(gradients)) {
      auto result = gradients_of_formula(
          {query, key, value},
          [&](const variable_list& x) -> variable_list {
            return {attention_formula({.query = x[0],
                                       .key = x[1],
                                       .value = x[2],
                                       .mask = attention.lowered(),
                                       .scale = attention.scale})
                        .output};
          },
          gradients);
      result.emplace_back();
      return result;
    }
    const auto bias = attention.bias();
    const auto run = [&](const torch::Tensor& of_output, const torch::Tensor& q,
                         const torch::Tensor& k, const torch::Tensor& v, const torch::Tensor& out,
                         const torch::Tensor& log_sums, bool is_causal) {
      return at::_scaled_dot_product_flash_attention_for_cpu_backward(
          of_output, q, k, v, out, log_sums, /*dropout_p=*/0.0, is_causal, bias, attention.scale);
    };
    if (attention.sentences.empty()) {
      auto [dq, dk, dv] =
          run(gradients[0], query, key, value, output, saved[5], attention.is_causal);
      return {dq, dk, dv, {}};
    }
    const auto gradient = gradients[0].stride(3) == 1 ? gradients[0] : gradients[0].contiguous();
    const auto dq = zero_heads(query), dk = zero_heads(key), dv = zero_heads(value);
    size_t next = 5;
    for (const auto& call : attention.calls(query, key)) {
      const auto [q, k, v] =
          run(call.of_queries(gradient), call.of_queries(query), call.of_keys(key),
              call.of_keys(value), call.of_queries(output), saved[next++], call.is_causal);
      call.of_queries(dq).copy_(q);
      call.of_keys(dk).add_(k);
      call.of_keys(dv).add_(v);
    }
    return {dq, dk, dv, {}};
  }
};

torch::Tensor kernel_attention(const torch::Tensor& query, const torch::Tensor& key,
                               const torch::Tensor& value, const KernelAttention& attention) {
  const bool records = torch::GradMode::is_enabled() &&
                       (query.requires_grad() || key.requires_grad() || value.requires_grad());
  return records ? KernelAttentionFunction::apply(query, key, value, attention)
                 : run_kernel(query, key, value, attention).first;
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
    const auto kept = dropout_p > 0.0 ? kept_weights(value, output) : torch::Tensor();
    return gradients_of_formula(
        inputs,
        [&](const variable_list& x) -> variable_list {
          const AttentionInputs in{.query = x[0],
                                   .key = x[1],
                                   .value = x[2],
                                   .mask = lowered_of({is_causal, x[3]}),
                                   .scale = scale};
          if (!kept.defined()) return {attention_formula(in).output};
          const auto dropped = formula_weights(in) * kept / (1.0 - dropout_p);
          return {grouped_matmul(dropped.to(in.value.scalar_type()), in.value)};
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

bool is_flash(int64_t choice) {
  return static_cast<at::SDPBackend>(choice) == at::SDPBackend::flash_attention;
}

torch::Tensor fused_attention(const AttentionInputs& in, const KernelMask& mask) {
  const bool is_cpu = in.query.is_cpu();
  const auto type = in.computed_type();
  const bool records = in.records_gradients();
  const bool checks_scores = is_cpu && (type == torch::kBFloat16 || type == torch::kHalf);
  const auto choice = records || checks_scores ? static_cast<at::SDPBackend>(fused_choice(in, mask))
                                               : at::SDPBackend::error;
  if (records && choice == at::SDPBackend::math) {
    auto plain = in;
    plain.mask = lowered_of(mask);
    return attention_formula(plain).output;
  }
  const bool takes_kernel = is_cpu && choice == at::SDPBackend::flash_attention;
  if (!takes_kernel && (is_cpu || !records)) {
    return at::scaled_dot_product_attention(in.query, in.key, in.value, if_defined(mask.tensor),
                                            in.parameters.dropout_p, mask.is_causal, in.scale,
                                            in.group() > 1);
  }
  const auto query = cast_like_autocast(in.query), key = cast_like_autocast(in.key),
             value = cast_like_autocast(in.value), added = cast_like_autocast(mask.tensor);
  const c10::impl::ExcludeDispatchKeyGuard no_autocast(c10::autocast_dispatch_keyset);
  if (takes_kernel)
    return kernel_attention(query, key, value, {mask.is_causal, added, {}, in.scale});
  return DeviceAttentionFunction::apply(query, key, value, if_defined(added), mask.is_causal,
                                        in.scale, in.parameters.dropout_p);
}

torch::Tensor fused_attention_by_sentences(const AttentionInputs& in,
                                           const std::vector<KeyRange>& sentences) {
  const auto repeated = [&](const torch::Tensor& x) {
    const auto cast = cast_like_autocast(x);
    return in.group() == 1 ? cast : cast.repeat_interleave(in.group(), 1);
  };
  const auto query = cast_like_autocast(in.query), key = repeated(in.key),
             value = repeated(in.value);
  const c10::impl::ExcludeDispatchKeyGuard no_autocast(c10::autocast_dispatch_keyset);
  return kernel_attention(query, key, value,
                          {/*is_causal=*/true, in.mask.allowed, sentences, in.scale});
}

}  // namespace attend::functional
