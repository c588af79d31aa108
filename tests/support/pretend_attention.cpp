#include "support/pretend_attention.h"

#include <ATen/SDPBackend.h>
#include <ATen/native/transformers/attention.h>
#include <torch/library.h>

#include <array>
#include <atomic>
#include <cmath>
#include <optional>
#include <tuple>

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

// Output, logsumexp, two cumulated lengths, two lengths, two parts of the random state, debugging mask.
using Forward =
    std::tuple<Tensor, Tensor, Tensor, Tensor, c10::SymInt, c10::SymInt, Tensor, Tensor, Tensor>;

Forward forward(const Tensor& query, const Tensor& key, const Tensor& value,
                const optional<Tensor>& bias, double dropout_p, bool is_causal,
                bool /*return_debug_mask*/, optional<double> scale) {
  const InsideKernel inside;
  ++fused_attention().calls;
  const auto [output, log_sums] = at::_scaled_dot_product_flash_attention_for_cpu(
      query.cpu(), key.cpu(), value.cpu(), dropout_p, is_causal, on_cpu(bias), scale);
  const auto nothing = at::empty({0}, query.options());
  return {output.to(query.device()),
          log_sums.to(query.device()),
          nothing,
          nothing,
          query.size(2),
          key.size(2),
          nothing,
          nothing,
          nothing};
}

std::tuple<Tensor, Tensor, Tensor, Tensor> backward(
    const Tensor& gradient, const Tensor& query, const Tensor& key, const Tensor& value,
    const Tensor& bias, std::array<bool, 4> wanted, const Tensor& output, const Tensor& log_sums,
    const Tensor& /*cum_seq_q*/, const Tensor& /*cum_seq_k*/, int64_t /*max_q*/, int64_t /*max_k*/,
    double dropout_p, bool is_causal, const Tensor& /*seed*/, const Tensor& /*offset*/,
    optional<double> scale) {
  const InsideKernel inside;
  ++fused_attention().calls;
  const auto device = query.device();
  const auto g = gradient.cpu(), q = query.cpu(), k = key.cpu(), v = value.cpu(),
             out = output.cpu();
  const auto added = on_cpu(bias);
  const auto [dq, dk, dv] = at::_scaled_dot_product_flash_attention_for_cpu_backward(
      g, q, k, v, out, log_sums.cpu(), dropout_p, is_causal, added, scale);
  Tensor of_bias;
  if (wanted[3] && added) {
    const auto scores = at::matmul(q, k.transpose(-2, -1)) *
                            scale.value_or(1.0 / std::sqrt(static_cast<double>(q.size(3)))) +
                        *added;
    const auto of_weights = at::matmul(g, v.transpose(-2, -1)) - (g * out).sum(-1, true);
    of_bias = (at::softmax(scores, -1) * of_weights).sum_to_size(bias.sizes()).to(device);
  }
  return {dq.to(device), dk.to(device), dv.to(device), of_bias};
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
