#include "attend/functional/attention.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "detail/check.h"
#include "functional/attention_backend.h"
#include "functional/attention_weights.h"
#include "functional/finite.h"
#include "functional/open_keys.h"

namespace attend::functional {
namespace {

// Adds the axes that [B, T, D] or [T, D] lacks: -> [B, 1, T, D].
torch::Tensor with_heads(const torch::Tensor& x) {
  return x.dim() == 4 ? x : x.dim() == 3 ? x.unsqueeze(1) : x.unsqueeze(0).unsqueeze(0);
}

bool are_bfloat16(at::TensorList tensors) {
  return std::ranges::all_of(
      tensors, [](const torch::Tensor& x) { return x.scalar_type() == torch::kBFloat16; });
}

// Checks what the caller gave, and lowers the mask.
AttentionInputs checked_inputs(const char* who, const torch::Tensor& query,
                               const torch::Tensor& key, const torch::Tensor& value,
                               const AttentionMask& mask, const AttentionParameters& parameters,
                               int64_t open_keys) {
  detail::check_rank(who, "query", query, 2, 4);
  const auto rank = query.dim();
  detail::check_rank(who, "key", key, rank, rank);
  detail::check_rank(who, "value", value, rank, rank);
  const auto q = with_heads(query), k = with_heads(key), v = with_heads(value);
  const auto batch = q.size(0), heads = q.size(1), kv_heads = k.size(1);
  TORCH_CHECK(kv_heads == heads || (kv_heads > 0 && heads % kv_heads == 0), who,
              ": expected heads of key that divide those of query, got query ",
              detail::shape_string(query.sizes()), " and key ", detail::shape_string(key.sizes()));
  at::DimVector expected(query.sizes());  // of the rank that was given, for the message
  if (rank == 4) expected[1] = kv_heads;
  expected[rank - 2] = -1;
  detail::check_shape(who, "key", key, expected);
  expected[rank - 2] = key.size(-2);
  expected[rank - 1] = -1;
  detail::check_shape(who, "value", value, expected);
  detail::check_same_kind(who, "key", key, "query", query);
  detail::check_same_kind(who, "value", value, "query", query);
  detail::check_probability(who, "dropout_p", parameters.dropout_p);
  TORCH_CHECK_VALUE(parameters.soft_cap >= 0.0, who, ": expected soft_cap >= 0, got ",
                    parameters.soft_cap);
  if (parameters.sinks.defined()) {
    detail::check_shape(who, "sinks", parameters.sinks, {heads});
    TORCH_CHECK(parameters.sinks.device() == query.device(), who, ": expected sinks on ",
                query.device(), " like query, got ", parameters.sinks.device());
  }
  check_floating_point(who, query);

  const ThroughFloat32 float32(q, is_narrow_on_cpu(q));
  const bool is_bfloat16 = float32.rounded_to() == torch::kBFloat16 && are_bfloat16({q, k, v});
  const auto given = [&](const torch::Tensor& x) { return is_bfloat16 ? x : float32.widened(x); };
  AttentionInputs in{
      .rounded_to = float32.rounded_to(),
      .is_bfloat16 = is_bfloat16,
      .query = given(q),
      .key = given(k),
      .value = given(v),
      .mask = {},
      .scale = parameters.scale.value_or(1.0 / std::sqrt(static_cast<double>(q.size(3)))),
      .parameters = parameters};
  const AttentionShape masked{batch, heads, q.size(2), k.size(2) - open_keys};
  in.mask = described_mask(who, rank == 2 ? with_batch_axis(mask) : mask, masked, q.device(),
                           in.number_type());
  if (open_keys > 0 && !in.mask.is_none()) {
    in.mask = in.mask.with_open_keys(masked, open_keys, q.device());
  }
  return in;
}

AttentionOutput attend_by_backend(const AttentionInputs& in, const WeightsRequest& request) {
  const auto& backend = choose_backend(in);
  const auto taken = as_taken_by(backend, in);
  if (request.is_none()) return {backend.run(taken), {}};
  if (backend.run_with_weights != nullptr) return backend.run_with_weights(taken, request);
  auto output = backend.run(taken);
  auto dense = taken;
  dense.mask = in.mask.dense(in.shape());
  return {std::move(output), requested_weights(dense, request)};
}

// Queries that see no key and keys that no query sees become zeros: their weights are zero, but
// zero times NaN is not.
AttentionInputs without_unseen(const AttentionInputs& in) {
  const auto [queries, keys] = in.mask.seen(in.shape(), in.query.device());
  const auto unseen = keys.size(1) == 1
                          ? keys.logical_not()
                          : keys.unflatten(1, {in.kv_heads(), in.group()}).any(2).logical_not();
  auto result = in;
  result.query = in.query.masked_fill(queries.logical_not(), 0.0);
  result.key = in.key.masked_fill(unseen, 0.0);
  result.value = in.value.masked_fill(unseen, 0.0);
  return result;
}

// Of as many queries as keys, a band shows each key to some query and each query some key.
bool all_are_seen(const AttentionInputs& in) {
  return in.query.size(2) == in.key.size(2) && !in.mask.allowed.defined() &&
         !in.mask.bias.defined() && in.mask.is_dense();
}

// The same where hidden keys and queries may hold NaN. That is rare, so it is looked for where it
// costs little: in the inputs where their gradients are recorded, else in the output, which is what
// a step of decoding has least of.
AttentionOutput attend_to_seen(const AttentionInputs& in, const WeightsRequest& request) {
  if (in.mask.is_none() || all_are_seen(in) || !in.query.is_cpu()) {
    return attend_by_backend(in, request);
  }
  if (in.records_gradients()) {
    const bool finite = all_finite(in.query) && all_finite(in.key) && all_finite(in.value);
    return attend_by_backend(finite ? in : without_unseen(in), request);
  }
  auto result = attend_by_backend(in, request);
  return all_finite(result.output) ? result : attend_by_backend(without_unseen(in), request);
}

}  // namespace

AttentionOutput attention_with_open_keys(const torch::Tensor& query, const torch::Tensor& key,
                                         const torch::Tensor& value, const AttentionMask& mask,
                                         const WeightsRequest& weights,
                                         const AttentionParameters& parameters, int64_t open_keys) {
  constexpr auto kName = "scaled_dot_product_attention";
  const auto in = checked_inputs(kName, query, key, value, mask, parameters, open_keys);
  const ThroughFloat32 float32(in.rounded_to);
  const auto rank = query.dim();
  check_request(kName, weights, in.query.size(1), in.query.size(2));
  // Without heads in the input there is no axis for them in the weights.
  auto request = weights;
  if (rank < 4 && !request.is_none()) request.kind(WeightsRequest::kMean);
  auto result = attend_to_seen(in, request);
  result.output = float32.rounded(result.output);
  if (rank < 4) result.output = result.output.squeeze(1);
  if (rank < 3) {
    result.output = result.output.squeeze(0);
    if (result.weights.defined()) result.weights = result.weights.squeeze(0);
  }
  return result;
}

AttentionOutput scaled_dot_product_attention(const torch::Tensor& query, const torch::Tensor& key,
                                             const torch::Tensor& value, const AttentionMask& mask,
                                             const WeightsRequest& weights,
                                             const AttentionParameters& parameters) {
  return attention_with_open_keys(query, key, value, mask, weights, parameters, /*open_keys=*/0);
}

std::string explain_attention(const torch::Tensor& query, const torch::Tensor& key,
                              const torch::Tensor& value, const AttentionMask& mask,
                              const AttentionParameters& parameters) {
  const auto in =
      checked_inputs("explain_attention", query, key, value, mask, parameters, /*open_keys=*/0);
  const auto& backend = choose_backend(in);
  return backend.name + backend.describe(as_taken_by(backend, in)) +
         (in.rounded_to ? ", in float32" : "");
}

}  // namespace attend::functional
