#include "attend/functional/attention.h"

#include <c10/core/impl/LocalDispatchKeySet.h>

#include <cmath>

#include "attend/functional/dropout.h"
#include "detail/check.h"
#include "functional/lowered_mask.h"
#include "functional/short_attention.h"

namespace attend::functional {
namespace {

// Softmax over scores of -infinity alone is NaN; this one gives zeros there, forward and backward.
torch::Tensor softmax_or_zero(const torch::Tensor& scores) { return at::_safe_softmax(scores, -1); }

void check_floating_point(const char* who, const torch::Tensor& query) {
  TORCH_CHECK(query.is_floating_point(), who, ": expected a floating-point query, got dtype ",
              query.scalar_type());
}

torch::Tensor at_least_float32(const torch::Tensor& x) {
  const auto type = x.scalar_type();
  return type == torch::kFloat || type == torch::kDouble ? x : x.to(torch::kFloat);
}

// The weights of [B, H, T, D] queries, recomputed beside the fused output.
torch::Tensor attention_weights(const torch::Tensor& query, const torch::Tensor& key,
                                const LoweredMask& mask, double scale) {
  // Autocast would round the scores to 16 bits.
  const c10::impl::ExcludeDispatchKeyGuard no_autocast(c10::autocast_dispatch_keyset);
  // The smaller factor is scaled, as the fused kernel does, instead of the [T, S] scores.
  const auto scores =
      torch::matmul(at_least_float32(query) * scale, at_least_float32(key).transpose(-2, -1));
  return softmax_or_zero(mask.apply(scores));  // [B, H, T, S]
}

// Adds the axes that [B, T, D] or [T, D] lacks: -> [B, 1, T, D].
torch::Tensor with_heads(const torch::Tensor& x) {
  return x.dim() == 4 ? x : x.dim() == 3 ? x.unsqueeze(1) : x.unsqueeze(0).unsqueeze(0);
}

}  // namespace

AttentionOutput scaled_dot_product_attention(const torch::Tensor& query, const torch::Tensor& key,
                                             const torch::Tensor& value, const AttentionMask& mask,
                                             WeightsRequest weights,
                                             const AttentionParameters& parameters) {
  constexpr auto kName = "scaled_dot_product_attention";
  detail::check_rank(kName, "query", query, 2, 4);
  const auto rank = query.dim();
  detail::check_rank(kName, "key", key, rank, rank);
  detail::check_rank(kName, "value", value, rank, rank);
  const auto q = with_heads(query), k = with_heads(key), v = with_heads(value);
  const auto batch = q.size(0), heads = q.size(1);
  at::DimVector expected(query.sizes());  // of the rank that was given, for the message
  expected[rank - 2] = -1;
  detail::check_shape(kName, "key", key, expected);
  expected[rank - 2] = key.size(-2);
  expected[rank - 1] = -1;
  detail::check_shape(kName, "value", value, expected);
  detail::check_same_kind(kName, "key", key, "query", query);
  detail::check_same_kind(kName, "value", value, "query", query);
  detail::check_probability(kName, "dropout_p", parameters.dropout_p);
  check_floating_point(kName, query);

  const AttentionShape shape{batch, heads, q.size(2), k.size(2)};
  const auto lowered = lower_mask(kName, rank == 2 ? with_batch_axis(mask) : mask, shape,
                                  q.device(), q.scalar_type());
  const double scale = parameters.scale.value_or(1.0 / std::sqrt(static_cast<double>(q.size(3))));

  AttentionOutput result;
  if (short_attention_takes(q, k, v, lowered, parameters.dropout_p)) {
    const auto wanted = weights != WeightsRequest::kNone;
    auto [output, all_weights] = short_attention(q, k, v, lowered, scale, wanted);
    result.output = std::move(output);
    if (wanted) result.weights = std::move(all_weights);
  } else if (shape.source == 0) {
    // No key at all: every row is empty. Products over no element are zero, and so are their
    // gradients.
    result.output = torch::matmul(torch::matmul(q, k.transpose(-2, -1)), v);
  } else {
    result.output = at::scaled_dot_product_attention(
        q, k, v, lowered.tensor.defined() ? std::make_optional(lowered.tensor) : std::nullopt,
        parameters.dropout_p, lowered.is_causal, scale);  // [B, H, T, Dv]
  }
  if (weights != WeightsRequest::kNone) {
    if (!result.weights.defined()) result.weights = attention_weights(q, k, lowered, scale);
    if (weights == WeightsRequest::kMean || rank < 4) result.weights = result.weights.mean(1);
  }
  if (rank < 4) result.output = result.output.squeeze(1);
  if (rank < 3) {
    result.output = result.output.squeeze(0);
    if (result.weights.defined()) result.weights = result.weights.squeeze(0);
  }
  return result;
}

AttentionOutput additive_attention(const torch::Tensor& query, const torch::Tensor& key,
                                   const torch::Tensor& scale_vector, const torch::Tensor& value,
                                   const AttentionMask& mask, WeightsRequest weights,
                                   const AttentionParameters& parameters) {
  constexpr auto kName = "additive_attention";
  detail::check_rank(kName, "query", query, 2, 3);
  const bool unbatched = query.dim() == 2;
  detail::check_rank(kName, "key", key, query.dim(), query.dim());
  detail::check_rank(kName, "value", value, query.dim(), query.dim());
  const auto batched = [&](const torch::Tensor& x) { return unbatched ? x.unsqueeze(0) : x; };
  const auto q = batched(query), k = batched(key), v = batched(value);
  const auto batch = q.size(0), units = q.size(2);
  detail::check_shape(kName, "key", k, {batch, -1, units});
  detail::check_shape(kName, "value", v, {batch, k.size(1), -1});
  detail::check_shape(kName, "scale_vector", scale_vector, {units});
  detail::check_same_kind(kName, "key", key, "query", query);
  detail::check_same_kind(kName, "value", value, "query", query);
  detail::check_same_kind(kName, "scale_vector", scale_vector, "query", query);
  detail::check_probability(kName, "dropout_p", parameters.dropout_p);
  check_floating_point(kName, query);

  const AttentionShape shape{batch, 1, q.size(1), k.size(1)};
  const auto lowered = lower_mask(kName, unbatched ? with_batch_axis(mask) : mask, shape,
                                  q.device(), q.scalar_type());

  const auto hidden = torch::tanh(q.unsqueeze(2) + k.unsqueeze(1));  // [B, T, S, A]
  auto scores = torch::matmul(hidden, scale_vector).unsqueeze(1);    // [B, 1, T, S]
  if (parameters.scale) scores = scores * *parameters.scale;
  const auto all_weights = softmax_or_zero(lowered.apply(at_least_float32(scores))).squeeze(1);
  const auto dropped =
      parameters.dropout_p > 0.0 ? dropout(all_weights, parameters.dropout_p) : all_weights;

  AttentionOutput result;
  result.output = torch::matmul(dropped.to(v.scalar_type()), v);  // [B, T, Dv]
  if (weights != WeightsRequest::kNone) result.weights = all_weights;
  if (unbatched) {
    result.output = result.output.squeeze(0);
    if (result.weights.defined()) result.weights = result.weights.squeeze(0);
  }
  return result;
}

}  // namespace attend::functional
