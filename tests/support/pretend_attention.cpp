#include "support/pretend_attention.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/SDPBackend.h>
#include <ATen/native/transformers/attention.h>
#include <torch/library.h>

#include <array>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <tuple>

#include "support/pretend_runtime.h"
#include "support/pretend_transfers.h"

namespace attend::testing_support {
namespace {

using at::Tensor;
using std::optional;

struct FusedAttention {
  std::atomic<bool> is_there = false;
  std::atomic<int64_t> calls = 0;
};
FusedAttention& fused_attention() {
  static FusedAttention state;
  return state;
}

int64_t choice(const Tensor& /*query*/, const Tensor& /*key*/, const Tensor& /*value*/,
               const optional<Tensor>& /*mask*/, double /*dropout_p*/, bool /*is_causal*/,
               optional<double> /*scale*/, bool /*enable_gqa*/) {
  return static_cast<int64_t>(fused_attention().is_there ? at::SDPBackend::overrideable
                                                         : at::SDPBackend::math);
}

optional<Tensor> on_cpu(const optional<Tensor>& x) {
  return x && x->defined() ? optional(x->cpu()) : std::nullopt;
}

double scale_of(const Tensor& query, optional<double> scale) {
  return scale.value_or(1.0 / std::sqrt(static_cast<double>(query.size(3))));
}

// A head of keys for each head of queries.
Tensor repeated(const Tensor& x, const Tensor& query) {
  const auto group = query.size(1) / x.size(1);
  return group == 1 ? x : x.repeat_interleave(group, 1);
}

// Its gradient: -> those of `x`.
Tensor summed(const Tensor& gradient, const Tensor& x) {
  return gradient.unflatten(1, {x.size(1), -1}).sum(2).to(x.device());
}

// On the CPU. LibTorch's kernel there has no dropout.
Tensor weights_of(const Tensor& query, const Tensor& key, const optional<Tensor>& bias,
                  bool is_causal, optional<double> scale) {
  auto scores = at::matmul(query, key.transpose(-2, -1)) * scale_of(query, scale);
  if (is_causal) {
    const auto hidden = at::ones({query.size(2), key.size(2)}, at::kBool).tril().logical_not();
    scores = scores.masked_fill(hidden, -std::numeric_limits<double>::infinity());
  }
  return at::softmax(bias ? scores + *bias : scores, -1);
}

// What the weights are multiplied with. Drawn in the forward pass and again, from the seed that it
// saved, in the backward pass.
Tensor dropout_factors(const Tensor& weights, double dropout_p, int64_t seed) {
  const auto generator = at::detail::createCPUGenerator(static_cast<uint64_t>(seed));
  return at::empty_like(weights).bernoulli_(1.0 - dropout_p, generator) / (1.0 - dropout_p);
}

// Output, logsumexp, two cumulated lengths, two lengths, two parts of the random state, debugging mask.
using Forward =
    std::tuple<Tensor, Tensor, Tensor, Tensor, c10::SymInt, c10::SymInt, Tensor, Tensor, Tensor>;

Forward forward(const Tensor& query, const Tensor& key, const Tensor& value,
                const optional<Tensor>& bias, double dropout_p, bool is_causal,
                bool /*return_debug_mask*/, optional<double> scale) {
  const InsideKernel inside;
  ++fused_attention().calls;
  const auto q = query.cpu(), k = repeated(key.cpu(), q), v = repeated(value.cpu(), q);
  const auto added = on_cpu(bias);
  auto [output, log_sums] = at::_scaled_dot_product_flash_attention_for_cpu(
      q, k, v, /*dropout_p=*/0.0, is_causal, added, scale);
  const auto nothing = at::empty({0}, query.options());
  auto seed = nothing;
  if (dropout_p > 0.0) {
    const auto drawn = at::randint(int64_t{1} << 32U, {}, cpu_generator_of({}), at::kLong);
    const auto weights = weights_of(q, k, added, is_causal, scale);
    output = at::matmul(weights * dropout_factors(weights, dropout_p, drawn.item<int64_t>()), v);
    seed = drawn.to(query.device());
  }
  return {output.to(query.device()),
          log_sums.to(query.device()),
          nothing,
          nothing,
          query.size(2),
          key.size(2),
          seed,
          nothing,
          nothing};
}

std::tuple<Tensor, Tensor, Tensor, Tensor> backward(
    const Tensor& gradient, const Tensor& query, const Tensor& key, const Tensor& value,
    const Tensor& bias, std::array<bool, 4> wanted, const Tensor& output, const Tensor& log_sums,
    const Tensor& /*cum_seq_q*/, const Tensor& /*cum_seq_k*/, int64_t /*max_q*/, int64_t /*max_k*/,
    double dropout_p, bool is_causal, const Tensor& seed, const Tensor& /*offset*/,
    optional<double> scale) {
  const InsideKernel inside;
  ++fused_attention().calls;
  const auto g = gradient.cpu(), q = query.cpu(), k = repeated(key.cpu(), q),
             v = repeated(value.cpu(), q), out = output.cpu();
  const auto added = on_cpu(bias);
  Tensor dq, dk, dv, of_scores;
  if (dropout_p > 0.0 || (wanted[3] && added)) {
    const auto weights = weights_of(q, k, added, is_causal, scale);
    const auto factors = dropout_p > 0.0
                             ? dropout_factors(weights, dropout_p, seed.cpu().item<int64_t>())
                             : at::ones_like(weights);
    dv = at::matmul((weights * factors).transpose(-2, -1), g);
    of_scores = weights * (at::matmul(g, v.transpose(-2, -1)) * factors - (g * out).sum(-1, true));
    dq = at::matmul(of_scores, k) * scale_of(q, scale);
    dk = at::matmul(of_scores.transpose(-2, -1), q) * scale_of(q, scale);
  }
  if (dropout_p == 0.0) {
    std::tie(dq, dk, dv) = at::_scaled_dot_product_flash_attention_for_cpu_backward(
        g, q, k, v, out, log_sums.cpu(), dropout_p, is_causal, added, scale);
  }
  Tensor of_bias;
  if (wanted[3] && added) of_bias = of_scores.sum_to_size(bias.sizes()).to(query.device());
  return {dq.to(query.device()), summed(dk, key), summed(dv, value), of_bias};
}

}  // namespace

PretendFusedAttention::PretendFusedAttention() {
  fused_attention().calls = 0;
  fused_attention().is_there = true;
}
PretendFusedAttention::~PretendFusedAttention() { fused_attention().is_there = false; }
int64_t PretendFusedAttention::calls() const { return fused_attention().calls; }

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("_fused_sdp_choice", &choice);
  m.impl("_scaled_dot_product_fused_attention_overrideable", &forward);
  m.impl("_scaled_dot_product_fused_attention_overrideable_backward", &backward);
}

}  // namespace attend::testing_support

namespace at::native {
// at::scaled_dot_product_attention asks without the dispatcher.
REGISTER_PRIVATEUSE1_DISPATCH(_fused_sdp_choice_stub, &attend::testing_support::choice)
}  // namespace at::native
