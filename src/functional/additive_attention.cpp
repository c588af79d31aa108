#include "attend/functional/attention.h"
#include "attend/functional/dropout.h"
#include "detail/check.h"
#include "functional/attention_formula.h"
#include "functional/attention_weights.h"
#include "functional/finite.h"
#include "functional/softmax.h"

namespace attend::functional {

AttentionOutput additive_attention(const torch::Tensor& query, const torch::Tensor& key,
                                   const torch::Tensor& scale_vector, const torch::Tensor& value,
                                   const AttentionMask& mask, const WeightsRequest& weights,
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
  check_request(kName, weights, /*heads=*/1, q.size(1));

  const ThroughFloat32 float32(q, lacks_products_of(q));
  auto queries = float32.widened(q), keys = float32.widened(k), values = float32.widened(v);
  const AttentionShape shape{batch, 1, q.size(1), k.size(1)};
  const auto lowered = lower_mask(kName, unbatched ? with_batch_axis(mask) : mask, shape,
                                  q.device(), queries.scalar_type());
  const bool is_clean =
      lowered.is_none() || !q.is_cpu() || (all_finite(q) && all_finite(k) && all_finite(v));
  if (!is_clean) {  // hidden from all: zeros, as in scaled_dot_product_attention
    const auto [seen_queries, seen_keys] = lowered.seen(shape, q.device());
    const auto zeroed = [](const torch::Tensor& x, const torch::Tensor& seen) {
      return x.masked_fill(seen.squeeze(1).logical_not(), 0.0);
    };
    queries = zeroed(queries, seen_queries);
    keys = zeroed(keys, seen_keys);
    values = zeroed(values, seen_keys);
  }
  const auto hidden = torch::tanh(queries.unsqueeze(2) + keys.unsqueeze(1));        // [B, T, S, A]
  auto scores = torch::matmul(hidden, float32.widened(scale_vector)).unsqueeze(1);  // [B, 1, T, S]
  if (parameters.scale) scores = scores * *parameters.scale;
  const auto all = softmax_or_zero(lowered.apply(at_least_float32(scores)));  // [B, 1, T, S]
  const auto dropped = dropout(all.squeeze(1), parameters.dropout_p);

  AttentionOutput result;
  result.output = torch::matmul(dropped.to(values.scalar_type()), values);  // [B, T, Dv]
  result.output = float32.rounded(result.output);
  if (!weights.is_none()) {
    auto request = weights;
    result.weights = requested_of(all, request.kind(WeightsRequest::kMean));
  }
  if (unbatched) {
    result.output = result.output.squeeze(0);
    if (result.weights.defined()) result.weights = result.weights.squeeze(0);
  }
  return result;
}

}  // namespace attend::functional
