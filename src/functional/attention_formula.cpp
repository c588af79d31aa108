#include "functional/attention_formula.h"

#include <c10/core/impl/LocalDispatchKeySet.h>

#include "attend/functional/dropout.h"
#include "functional/attention_backend.h"
#include "functional/softmax.h"

namespace attend::functional {

AttentionOutput attention_formula(const AttentionInputs& in) {
  const auto weights = formula_weights(in);
  const auto dropped =
      in.kept.defined() ? weights * in.kept : dropout(weights, in.parameters.dropout_p);
  return {grouped_matmul(dropped.to(in.value.scalar_type()), in.value), weights};
}

torch::Tensor formula_weights(const AttentionInputs& in) {
  // Autocast would round the scores to 16 bits.
  const c10::impl::ExcludeDispatchKeyGuard no_autocast(c10::autocast_dispatch_keyset);
  // The smaller factor is scaled, as the fused kernels do, instead of the [T, S] scores.
  auto scores = grouped_matmul(at_least_float32(in.query) * in.scale,
                               at_least_float32(in.key).transpose(-2, -1));  // [B, H, T, S]
  const double cap = in.parameters.soft_cap;
  if (cap > 0.0) scores = torch::tanh(scores / cap) * cap;
  scores = in.mask.apply(scores);
  const auto& sinks = in.parameters.sinks;
  if (!sinks.defined()) return softmax_or_zero(scores);
  const auto [batch, heads, target, source] = in.shape();
  const auto column =
      sinks.to(scores.scalar_type()).view({1, heads, 1, 1}).expand({batch, heads, target, 1});
  return softmax_or_zero(torch::cat({scores, column}, -1)).narrow(3, 0, source);
}

torch::Tensor grouped_matmul(const torch::Tensor& x, const torch::Tensor& y) {
  if (x.size(1) == y.size(1)) return torch::matmul(x, y);
  const auto rows = x.reshape({x.size(0), y.size(1), -1, x.size(3)});  // [B, Hkv, G T, D]
  return torch::matmul(rows, y).view({x.size(0), x.size(1), x.size(2), y.size(3)});
}

torch::Tensor at_least_float32(const torch::Tensor& x) {
  const auto type = x.scalar_type();
  return type == torch::kFloat || type == torch::kDouble ? x : x.to(torch::kFloat);
}

namespace {

torch::Tensor run_formula(const AttentionInputs& in) { return attention_formula(in).output; }

std::string describe_formula(const AttentionInputs& in) {
  const auto allowed =
      in.mask.everything_allowed(in.query.size(2), in.key.size(2), in.query.device());
  return described_part("mask", allowed) + described_part("bias", in.mask.bias);
}

}  // namespace

const AttentionBackend kFormula{.name = "scores",
                                .extras = kEveryExtra,
                                .takes = [](const AttentionInputs&) { return true; },
                                .run = run_formula,
                                .describe = describe_formula};

}  // namespace attend::functional
