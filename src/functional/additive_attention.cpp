#include <algorithm>
#include <limits>

#include "attend/functional/attention.h"
#include "detail/check.h"
#include "functional/attention_formula.h"
#include "functional/attention_weights.h"
#include "functional/dropout_seed.h"
#include "functional/finite.h"
#include "functional/fused_additive_attention.h"
#include "functional/products.h"
#include "functional/softmax.h"

namespace attend::functional {
namespace {

constexpr auto kAdditive = "additive_attention";
constexpr double kHiddenScore = -std::numeric_limits<double>::infinity();

// Adds the axes that x lacks beside one with heads, of rank 4; `rank` is the query's.
torch::Tensor with_additive_heads(const torch::Tensor& x, int64_t rank) {
  return rank == 4 ? x : rank == 3 ? x.unsqueeze(1) : x.unsqueeze(0).unsqueeze(0);
}

void check_parameters(const AdditiveAttentionParameters& p) {
  detail::check_probability(kAdditive, "dropout_p", p.dropout_p);
  TORCH_CHECK_VALUE(p.score_clip >= 0.0, kAdditive, ": expected score_clip >= 0, got ",
                    p.score_clip);
}

// Checks what the caller gave, and lowers the mask.
AdditiveInputs checked_additive(const torch::Tensor& query, const torch::Tensor& key,
                                const torch::Tensor& scale_vector, const torch::Tensor& value,
                                const AttentionMask& mask,
                                const AdditiveAttentionParameters& parameters,
                                const ThroughFloat32& float32) {
  const auto rank = query.dim();
  const auto q = with_additive_heads(query, rank), k = with_additive_heads(key, rank);
  const AttentionShape shape{q.size(0), q.size(1), q.size(2), k.size(2)};
  AdditiveInputs in{.query = float32.widened(q),
                    .key = float32.widened(k),
                    .value = float32.widened(with_additive_heads(value, rank)),
                    .vector = float32.widened(rank == 4 ? scale_vector : scale_vector.unsqueeze(0)),
                    .mask = {},
                    .parameters = parameters};
  in.mask = lower_mask(kAdditive, rank == 2 ? with_batch_axis(mask) : mask, shape, q.device(),
                       in.query.scalar_type());
  if (parameters.key_term.defined()) {
    in.parameters.key_term =
        parameters.key_term.view({shape.batch, shape.heads, shape.source}).to(in.query.dtype());
  }
  if (parameters.dropout_p > 0.0 && (q.is_cpu() || has_additive_kernel(in))) {
    in.seed = draw_dropout_seed();
  }
  return in;
}

void check_additive(const torch::Tensor& query, const torch::Tensor& key,
                    const torch::Tensor& scale_vector, const torch::Tensor& value,
                    const AdditiveAttentionParameters& parameters) {
  detail::check_rank(kAdditive, "query", query, 2, 4);
  const auto rank = query.dim();
  detail::check_rank(kAdditive, "key", key, rank, rank);
  detail::check_rank(kAdditive, "value", value, rank, rank);
  at::DimVector expected(query.sizes());  // of the rank that was given, for the message
  expected[rank - 2] = -1;
  detail::check_shape(kAdditive, "key", key, expected);
  expected[rank - 2] = key.size(-2);
  expected[rank - 1] = -1;
  detail::check_shape(kAdditive, "value", value, expected);
  const auto units = query.size(-1);
  detail::check_shape(kAdditive, "scale_vector", scale_vector,
                      rank == 4 ? at::DimVector{query.size(1), units} : at::DimVector{units});
  detail::check_same_kind(kAdditive, "key", key, "query", query);
  detail::check_same_kind(kAdditive, "value", value, "query", query);
  detail::check_same_kind(kAdditive, "scale_vector", scale_vector, "query", query);
  if (parameters.key_term.defined()) {
    detail::check_shape(kAdditive, "key_term", parameters.key_term, key.sizes().slice(0, rank - 1));
    TORCH_CHECK(parameters.key_term.device() == query.device(), kAdditive,
                ": expected key_term on ", query.device(), " like query, got ",
                parameters.key_term.device());
  }
  check_parameters(parameters);
  check_floating_point(kAdditive, query);
}

// Queries that see no key and keys that no query sees, as zeros: they may hold anything.
AdditiveInputs with_unseen_zeroed(const AdditiveInputs& in) {
  if (in.mask.is_none() || !in.query.is_cpu() ||
      (all_finite(in.query.detach()) && all_finite(in.key.detach()) &&
       all_finite(in.value.detach()))) {
    return in;
  }
  const auto [queries, keys] = in.mask.seen(in.shape(), in.query.device());
  auto result = in;
  result.query = in.query.masked_fill(queries.logical_not(), 0.0);
  result.key = in.key.masked_fill(keys.logical_not(), 0.0);
  result.value = in.value.masked_fill(keys.logical_not(), 0.0);
  return result;
}

AdditiveOutput attend_additively(const AdditiveInputs& in, bool wants_scores) {
  return has_additive_kernel(in) ? fused_additive_attention(in, wants_scores)
                                 : additive_formula(with_unseen_zeroed(in));
}

// Scores of the chosen queries alone.
torch::Tensor scores_of_queries(const AdditiveInputs& in, const std::vector<int64_t>& queries) {
  const auto chosen = chosen_indices(queries, in.query.size(2), in.query.device());
  auto part = in;
  part.query = in.query.index_select(2, chosen);
  part.value = in.value.narrow(3, 0, std::min<int64_t>(in.value.size(3), 1));  // for no output
  part.mask = in.mask.rows(in.shape(), chosen);
  part.parameters.dropout_p = 0.0;
  return attend_additively(part, /*wants_scores=*/true).scores;
}

// What `request` wants out of scores.
torch::Tensor values_of(const torch::Tensor& scores, WeightsRequest::Values values) {
  switch (values) {
    case WeightsRequest::Values::kWeights:
      return softmax_or_zero(scores);
    case WeightsRequest::Values::kScores:
      return scores;
    case WeightsRequest::Values::kLogProbabilities: {
      const auto is_empty = scores.detach().amax(-1, /*keepdim=*/true).eq(kHiddenScore);
      const auto logarithms = torch::log_softmax(scores.masked_fill(is_empty, 0.0), -1);
      return logarithms.masked_fill(is_empty, kHiddenScore);
    }
  }
  TORCH_INTERNAL_ASSERT(false, "an unknown kind of values");
}

}  // namespace

AttentionOutput additive_attention(const torch::Tensor& query, const torch::Tensor& key,
                                   const torch::Tensor& scale_vector, const torch::Tensor& value,
                                   const AttentionMask& mask, const WeightsRequest& weights,
                                   const AdditiveAttentionParameters& parameters) {
  check_additive(query, key, scale_vector, value, parameters);
  const auto rank = query.dim();
  check_request(kAdditive, weights, rank == 4 ? query.size(1) : 1, query.size(-2),
                /*has_scores=*/true);
  const ThroughFloat32 float32(query, is_narrow_on_cpu(query));
  const auto in = checked_additive(query, key, scale_vector, value, mask, parameters, float32);
  const bool is_of_all = weights.queries().empty();
  auto [output, scores] = attend_additively(in, !weights.is_none() && is_of_all);
  AttentionOutput result{float32.rounded(output), {}};
  if (!weights.is_none()) {
    // Without heads in the input there is no axis for them in the weights.
    auto request = weights;
    if (rank < 4) request.kind(WeightsRequest::kMean);
    if (!is_of_all) scores = scores_of_queries(in, weights.queries());
    request.queries({});
    result.weights = requested_of(values_of(scores, weights.values()), request);
  }
  if (rank < 4) result.output = result.output.squeeze(1);
  if (rank < 3) {
    result.output = result.output.squeeze(0);
    if (result.weights.defined()) result.weights = result.weights.squeeze(0);
  }
  return result;
}

}  // namespace attend::functional
