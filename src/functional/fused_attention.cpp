#include "functional/fused_attention.h"

#include <ATen/SDPBackend.h>
#include <ATen/autocast_mode.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

#include <limits>
#include <tuple>
#include <utility>

#include "functional/attention_weights.h"
#include "functional/derivatives.h"
#include "functional/products.h"

namespace attend::functional {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Shorter sentences cost more in calls than in the keys that are left out (benchmarks/attention_benchmark.cpp).
constexpr int64_t kShortestSentences = 512;

int64_t backend_of(const torch::Tensor& query, const torch::Tensor& key, const torch::Tensor& value,
                   const KernelMask& mask, double dropout_p, double scale, bool grouped) {
  const auto tensor = mask.tensor.defined() ? std::make_optional(mask.tensor) : std::nullopt;
  return at::_fused_sdp_choice(query, key, value, tensor, dropout_p, mask.is_causal, scale,
                               grouped);
}

bool is_flash(int64_t backend) {
  return static_cast<at::SDPBackend>(backend) == at::SDPBackend::flash_attention;
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

// One attention by LibTorch's kernel, as a whole or, if `sentences` is not empty, sentence by sentence.
struct KernelAttention {
  bool is_causal;
  torch::Tensor mask;  // undefined, bool or floating point
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

  // What the kernel adds to the scores, as at::scaled_dot_product_attention makes it of a bool mask. The keys of
  // sentences need none.
  std::optional<torch::Tensor> added_mask(torch::ScalarType type) const {
    if (!mask.defined() || !sentences.empty()) return std::nullopt;
    if (mask.scalar_type() != torch::kBool) return mask;
    return at::zeros_like(mask, type)
        .masked_fill_(mask.logical_not(), -std::numeric_limits<double>::infinity());
  }

  LoweredMask lowered() const {
    constexpr auto kAll = AttentionMask::Band::kAll;
    LoweredMask result{{kAll, is_causal ? 0 : kAll}, {}, {}};
    if (mask.defined()) (mask.scalar_type() == torch::kBool ? result.allowed : result.bias) = mask;
    return result;
  }
};

// In the memory order of [B, L, H, D], as the kernel's own output.
torch::Tensor zero_heads(const torch::Tensor& like) {
  return at::zeros({like.size(0), like.size(2), like.size(1), like.size(3)}, like.options())
      .transpose(1, 2);
}

// The output, and for each call the logarithms of its sums.
std::pair<torch::Tensor, variable_list> run_kernel(const torch::Tensor& query,
                                                   const torch::Tensor& key,
                                                   const torch::Tensor& value,
                                                   const KernelAttention& attention) {
  const auto mask = attention.added_mask(query.scalar_type());
  const auto run = [&](const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v,
                       bool is_causal) {
    return at::_scaled_dot_product_flash_attention_for_cpu(q, k, v, /*dropout_p=*/0.0, is_causal,
                                                           mask, attention.scale);
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
            return {attention_formula(x[0], x[1], x[2], attention.lowered(), attention.scale)
                        .output.to(x[2].scalar_type())};
          },
          gradients);
      result.emplace_back();
      return result;
    }
    const auto mask = attention.added_mask(query.scalar_type());
    const auto run = [&](const torch::Tensor& of_output, const torch::Tensor& q,
                         const torch::Tensor& k, const torch::Tensor& v, const torch::Tensor& out,
                         const torch::Tensor& log_sums, bool is_causal) {
      return at::_scaled_dot_product_flash_attention_for_cpu_backward(
          of_output, q, k, v, out, log_sums, /*dropout_p=*/0.0, is_causal, mask, attention.scale);
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

// As autocast casts the inputs of at::scaled_dot_product_attention, where it is on.
torch::Tensor cast_like_autocast(const torch::Tensor& x) {
  const bool is_left_out = c10::impl::tls_is_dispatch_key_excluded(c10::DispatchKey::AutocastCPU);
  if (is_left_out || !x.defined() || x.scalar_type() == torch::kBool) return x;
  const auto type = product_type(x);
  return type == x.scalar_type() ? x : at::autocast::cached_cast(type, x, x.device().type());
}

// The keys [begin, end) of a row of `allowed` keys, or nothing where they are no neighbours.
std::optional<KeyRange> neighbours(const bool* allowed, int64_t stride, int64_t source) {
  KeyRange range{0, source};
  while (range.begin < source && !allowed[range.begin * stride]) ++range.begin;
  if (range.begin == source) return KeyRange{0, 0};
  while (!allowed[(range.end - 1) * stride]) --range.end;
  for (auto key = range.begin; key < range.end; ++key) {
    if (!allowed[key * stride]) return std::nullopt;
  }
  return range;
}

}  // namespace

int64_t fused_backend(const AttentionInputs& in, const KernelMask& mask) {
  return backend_of(in.query, in.key, in.value, mask, in.parameters.dropout_p, in.scale,
                    in.group() > 1);
}

std::optional<std::vector<KeyRange>> causal_sentences(const AttentionInputs& in) {
  constexpr auto kAll = AttentionMask::Band::kAll;
  const auto [batch, heads, target, source] = in.shape();
  const auto& allowed = in.mask.allowed;
  const bool is_causal_row = in.query.is_cpu() && target == source && in.mask.band.left == kAll &&
                             in.mask.band.right == 0 && !in.mask.bias.defined() &&
                             allowed.defined() && allowed.size(1) == 1 && allowed.size(2) == 1 &&
                             allowed.size(3) == source;
  if (!is_causal_row || batch == 0 || target < kShortestSentences) return std::nullopt;
  const KernelMask flag{.is_causal = true, .tensor = {}};
  // Of one head: heads of a group are repeated for the kernel.
  const auto one = [](const torch::Tensor& x) { return x.narrow(1, 0, 1); };
  if (!is_flash(
          backend_of(one(in.query), one(in.key), one(in.value), flag, 0.0, in.scale, false))) {
    return std::nullopt;
  }
  std::vector<KeyRange> sentences;
  for (int64_t i = 0; i < batch; ++i) {
    const auto* row =
        allowed.const_data_ptr<bool>() + (allowed.size(0) == 1 ? 0 : i) * allowed.stride(0);
    const auto found = neighbours(row, allowed.stride(3), source);
    if (!found) return std::nullopt;
    sentences.push_back(*found);
  }
  return sentences;
}

torch::Tensor fused_attention(const torch::Tensor& query, const torch::Tensor& key,
                              const torch::Tensor& value, const KernelMask& mask, double dropout_p,
                              double scale, bool grouped) {
  const auto tensor = mask.tensor.defined() ? std::make_optional(mask.tensor) : std::nullopt;
  const bool records = torch::GradMode::is_enabled() &&
                       (query.requires_grad() || key.requires_grad() || value.requires_grad());
  if (!records || !query.is_cpu() ||
      !is_flash(backend_of(query, key, value, mask, dropout_p, scale, grouped))) {
    return at::scaled_dot_product_attention(query, key, value, tensor, dropout_p, mask.is_causal,
                                            scale, grouped);
  }
  const auto q = cast_like_autocast(query), k = cast_like_autocast(key),
             v = cast_like_autocast(value), added = cast_like_autocast(mask.tensor);
  const c10::impl::ExcludeDispatchKeyGuard no_autocast(c10::autocast_dispatch_keyset);
  return kernel_attention(q, k, v, {mask.is_causal, added, {}, scale});
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
