#include "attend/functional/attention.h"

#include <ATen/SDPBackend.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "attend/functional/dropout.h"
#include "detail/check.h"
#include "functional/attention_inputs.h"
#include "functional/attention_weights.h"
#include "functional/finite.h"
#include "functional/fused_attention.h"
#include "functional/lowered_mask.h"
#include "functional/products.h"
#include "functional/short_attention.h"

namespace attend::functional {
namespace {

void check_floating_point(const char* who, const torch::Tensor& query) {
  TORCH_CHECK(query.is_floating_point(), who, ": expected a floating-point query, got dtype ",
              query.scalar_type());
}

torch::Tensor output_from_scores(const AttentionInputs& in) {
  const auto weights = dropout(all_weights(in), in.parameters.dropout_p);
  return grouped_matmul(weights.to(in.value.scalar_type()), in.value);
}

// LibTorch has no CPU kernel with dropout: it computes the scores too, and draws on one thread.
bool needs_scores_for_dropout(const AttentionInputs& in) {
  return in.parameters.dropout_p > 0.0 && in.query.is_cpu();
}

// LibTorch's kernel for the whole of the inputs.
torch::Tensor fused_output(const AttentionInputs& in) {
  if (needs_scores_for_dropout(in)) return output_from_scores(in);
  const auto mask = kernel_mask(in.mask, in.shape(), in.query.device());
  const auto run = [&](const torch::Tensor& query, const torch::Tensor& key,
                       const torch::Tensor& value, bool grouped) {
    return fused_attention(query, key, value, mask, in.parameters.dropout_p, in.scale, grouped);
  };
  if (in.group() == 1) return run(in.query, in.key, in.value, false);
  if (!in.query.is_cpu()) return run(in.query, in.key, in.value, true);
  const bool rows_alike =
      !mask.is_causal &&
      (!mask.tensor.defined() || (mask.tensor.size(1) == 1 && mask.tensor.size(2) == 1));
  if (rows_alike) {  // the query heads of a group are more queries of one head
    const auto rows = in.query.reshape({in.query.size(0), in.kv_heads(), -1, in.query.size(3)});
    return run(rows, in.key, in.value, false)
        .view({in.query.size(0), in.query.size(1), in.query.size(2), in.value.size(3)});
  }
  return run(in.query, in.key.repeat_interleave(in.group(), 1),
             in.value.repeat_interleave(in.group(), 1), false);
}

// Queries that are taken together where the mask is a window: each block reads only the keys that
// some query of it may see.
constexpr int64_t kWindowBlock = 256;

bool is_narrow_window(const AttentionInputs& in) {
  constexpr auto kAll = AttentionMask::Band::kAll;
  const auto& band = in.mask.band;
  const auto shape = in.shape();
  if (band.left == kAll || shape.target <= kWindowBlock) return false;
  const auto right = band.right == kAll ? shape.source : band.right;
  return 2 * (band.left + right + kWindowBlock) <= shape.source;
}

torch::Tensor output_by_blocks(const AttentionInputs& in) {
  const auto shape = in.shape();
  const auto offset = shape.source - shape.target;
  const auto& band = in.mask.band;
  std::vector<torch::Tensor> blocks;
  for (int64_t begin = 0; begin < shape.target; begin += kWindowBlock) {
    const auto end = std::min(begin + kWindowBlock, shape.target);
    const auto first = std::clamp<int64_t>(begin + offset - band.left, 0, shape.source);
    const auto last = std::clamp<int64_t>(end + offset + band.right, first, shape.source);
    AttentionInputs block = in;
    block.query = in.query.narrow(2, begin, end - begin);
    block.key = in.key.narrow(2, first, last - first);
    block.value = in.value.narrow(2, first, last - first);
    if (first == last) {
      blocks.push_back(
          grouped_matmul(grouped_matmul(block.query, block.key.transpose(-2, -1)), block.value));
      continue;
    }
    block.mask = in.mask.part(shape, begin, end - begin, first, last - first, in.query.device());
    blocks.push_back(fused_output(block));
  }
  return torch::cat(blocks, 2);
}

// Adds the axes that [B, T, D] or [T, D] lacks: -> [B, 1, T, D].
torch::Tensor with_heads(const torch::Tensor& x) {
  return x.dim() == 4 ? x : x.dim() == 3 ? x.unsqueeze(1) : x.unsqueeze(0).unsqueeze(0);
}

// Checks what the caller gave, and lowers the mask.
AttentionInputs checked_inputs(const char* who, const torch::Tensor& query,
                               const torch::Tensor& key, const torch::Tensor& value,
                               const AttentionMask& mask, const AttentionParameters& parameters) {
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
  TORCH_CHECK_VALUE(parameters.open_keys >= 0 && parameters.open_keys <= k.size(2), who,
                    ": expected open_keys in [0, ", k.size(2), "], got ", parameters.open_keys);

  const bool widens = lacks_products_of(q) || (is_narrow_on_cpu(q) && is_short_attention(q, k, v));
  const auto taken = [&](const torch::Tensor& x) { return widens ? x.to(torch::kFloat) : x; };
  AttentionInputs in{
      .rounded_to = widens ? std::optional(product_type(q)) : std::nullopt,
      .query = taken(q),
      .key = taken(k),
      .value = taken(v),
      .mask = {},
      .scale = parameters.scale.value_or(1.0 / std::sqrt(static_cast<double>(q.size(3)))),
      .parameters = parameters};
  const AttentionShape masked{batch, heads, q.size(2), k.size(2) - parameters.open_keys};
  in.mask = lower_mask(who, rank == 2 ? with_batch_axis(mask) : mask, masked, q.device(),
                       in.query.scalar_type());
  if (parameters.open_keys > 0 && !in.mask.is_none()) {
    in.mask = in.mask.with_open_keys(masked, parameters.open_keys, q.device());
  }
  return in;
}

enum class Path {
  kScores,        // the scores as a whole, by LibTorch's operations
  kShortKernel,   // attend's kernel for short sequences
  kNoKeys,        // products over nothing
  kWindowBlocks,  // LibTorch's kernel, a block of queries at a time
  kSentences,     // LibTorch's kernel, a sentence of a padded batch at a time, by its causal flag
  kFused,         // LibTorch's kernel
};

Path path_of(const AttentionInputs& in) {
  if (in.parameters.soft_cap > 0.0 || in.parameters.sinks.defined() || has_tangents(in)) {
    return Path::kScores;
  }
  const bool autocasts = !in.rounded_to && product_type(in.query) != in.query.scalar_type();
  if (!autocasts &&
      short_attention_takes(in.query, in.key, in.value, in.mask, in.parameters.dropout_p)) {
    return Path::kShortKernel;
  }
  if (in.key.size(2) == 0) return Path::kNoKeys;
  if (is_narrow_window(in)) return Path::kWindowBlocks;
  if (needs_scores_for_dropout(in)) return Path::kScores;
  return causal_sentences(in) ? Path::kSentences : Path::kFused;
}

std::string backend_name(const AttentionInputs& in, const KernelMask& mask) {
  switch (static_cast<at::SDPBackend>(fused_backend(in, mask))) {
    case at::SDPBackend::flash_attention:
      return "flash attention";
    case at::SDPBackend::efficient_attention:
      return "memory-efficient attention";
    case at::SDPBackend::cudnn_attention:
      return "cuDNN";
    default:
      return "math";
  }
}

std::string explanation(const AttentionInputs& in) {
  const auto sizes = [](const char* what, const torch::Tensor& tensor) {
    return tensor.defined() ? std::string(", ") + what + " " + detail::shape_string(tensor.sizes())
                            : std::string();
  };
  const auto& band = in.mask.band;
  const std::string banded = band.is_everything() ? "" : ", the band as two numbers";
  const auto path = path_of(in);
  switch (path) {
    case Path::kNoKeys:
      return "nothing to attend to";
    case Path::kScores:
      return "scores" +
             sizes("mask", in.mask.everything_allowed(in.query.size(2), in.key.size(2),
                                                      in.query.device())) +
             sizes("bias", in.mask.bias);
    case Path::kShortKernel:
      return "short kernel" + banded + sizes("mask", in.mask.allowed) + sizes("bias", in.mask.bias);
    case Path::kSentences:
      return "LibTorch: flash attention, its causal flag, a sentence at a time";
    case Path::kWindowBlocks:
    case Path::kFused:
      break;
  }
  if (path == Path::kWindowBlocks) {
    return "LibTorch's kernel by blocks of queries, a mask for each block" +
           sizes("mask", in.mask.allowed) + sizes("bias", in.mask.bias);
  }
  const auto lowered = kernel_mask(in.mask, in.shape(), in.query.device());
  return "LibTorch: " + backend_name(in, lowered) + (lowered.is_causal ? ", its causal flag" : "") +
         sizes(lowered.tensor.defined() && lowered.tensor.scalar_type() == torch::kBool ? "mask"
                                                                                        : "bias",
               lowered.tensor);
}

// What the path of `in` gives: the output and, if wanted, the weights.
AttentionOutput attend_by_path(const AttentionInputs& in, const WeightsRequest& request) {
  const bool wanted = !request.is_none();
  AttentionOutput result;
  switch (path_of(in)) {
    case Path::kScores:
      result.output = output_from_scores(in);
      break;
    case Path::kShortKernel: {
      auto [output, all] = short_attention(in.query, in.key, in.value, in.mask, in.scale, wanted);
      result.output = std::move(output);
      if (wanted) result.weights = requested_of(all, request);
      break;
    }
    case Path::kNoKeys:
      // Every row is empty. Products over no element are zero, and so are their gradients.
      result.output = grouped_matmul(grouped_matmul(in.query, in.key.transpose(-2, -1)), in.value);
      break;
    case Path::kWindowBlocks:
      result.output = output_by_blocks(in);
      break;
    case Path::kSentences:
      result.output = fused_attention_by_sentences(in, *causal_sentences(in));
      break;
    case Path::kFused:
      result.output = fused_output(in);
      break;
  }
  if (wanted && !result.weights.defined()) result.weights = requested_weights(in, request);
  return result;
}

// Queries that see no key and keys that no query sees become zeros: their weights are zero, but zero times NaN is not.
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

bool records_gradients(std::initializer_list<torch::Tensor> inputs) {
  return torch::GradMode::is_enabled() &&
         std::ranges::any_of(inputs, [](const torch::Tensor& x) { return x.requires_grad(); });
}

// The same where what the mask hides may be no number. That is rare, so it is looked for where it costs little: in the
// inputs where their gradients are recorded, else in the output, which is what a step of decoding has least of.
AttentionOutput attend_to_seen(const AttentionInputs& in, const WeightsRequest& request) {
  if (in.mask.is_none() || !in.query.is_cpu()) return attend_by_path(in, request);
  if (records_gradients({in.query, in.key, in.value})) {
    const bool finite = all_finite(in.query) && all_finite(in.key) && all_finite(in.value);
    return attend_by_path(finite ? in : without_unseen(in), request);
  }
  auto result = attend_by_path(in, request);
  return all_finite(result.output) ? result : attend_by_path(without_unseen(in), request);
}

}  // namespace

AttentionOutput scaled_dot_product_attention(const torch::Tensor& query, const torch::Tensor& key,
                                             const torch::Tensor& value, const AttentionMask& mask,
                                             const WeightsRequest& weights,
                                             const AttentionParameters& parameters) {
  constexpr auto kName = "scaled_dot_product_attention";
  const auto in = checked_inputs(kName, query, key, value, mask, parameters);
  std::optional<c10::impl::ExcludeDispatchKeyGuard> no_autocast;
  if (in.rounded_to) no_autocast.emplace(c10::autocast_dispatch_keyset);
  const auto rank = query.dim();
  check_request(kName, weights, in.query.size(1), in.query.size(2));
  // Without heads in the input there is no axis for them in the weights.
  auto request = weights;
  if (rank < 4 && !request.is_none()) request.kind(WeightsRequest::kMean);
  auto result = attend_to_seen(in, request);
  if (in.rounded_to) result.output = result.output.to(*in.rounded_to);
  if (rank < 4) result.output = result.output.squeeze(1);
  if (rank < 3) {
    result.output = result.output.squeeze(0);
    if (result.weights.defined()) result.weights = result.weights.squeeze(0);
  }
  return result;
}

std::string explain_attention(const torch::Tensor& query, const torch::Tensor& key,
                              const torch::Tensor& value, const AttentionMask& mask,
                              const AttentionParameters& parameters) {
  const auto in = checked_inputs("explain_attention", query, key, value, mask, parameters);
  return explanation(in) + (in.rounded_to ? ", in float32" : "");
}

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

  const bool widens = lacks_products_of(q);
  std::optional<c10::impl::ExcludeDispatchKeyGuard> no_autocast;
  const auto output_type = product_type(q);
  if (widens) no_autocast.emplace(c10::autocast_dispatch_keyset);
  const auto taken = [&](const torch::Tensor& x) { return widens ? x.to(torch::kFloat) : x; };

  const AttentionShape shape{batch, 1, q.size(1), k.size(1)};
  const auto lowered = lower_mask(kName, unbatched ? with_batch_axis(mask) : mask, shape,
                                  q.device(), widens ? torch::kFloat : q.scalar_type());

  auto queries = taken(q), keys = taken(k), values = taken(v);
  const bool is_clean =
      lowered.is_none() || !q.is_cpu() || (all_finite(q) && all_finite(k) && all_finite(v));
  if (!is_clean) {  // see without_unseen
    const auto [seen_queries, seen_keys] = lowered.seen(shape, q.device());
    const auto zeroed = [](const torch::Tensor& x, const torch::Tensor& seen) {
      return x.masked_fill(seen.squeeze(1).logical_not(), 0.0);
    };
    queries = zeroed(queries, seen_queries);
    keys = zeroed(keys, seen_keys);
    values = zeroed(values, seen_keys);
  }
  const auto hidden = torch::tanh(queries.unsqueeze(2) + keys.unsqueeze(1));  // [B, T, S, A]
  auto scores = torch::matmul(hidden, taken(scale_vector)).unsqueeze(1);      // [B, 1, T, S]
  if (parameters.scale) scores = scores * *parameters.scale;
  const auto all = softmax_or_zero(lowered.apply(at_least_float32(scores)));  // [B, 1, T, S]
  const auto dropped = dropout(all.squeeze(1), parameters.dropout_p);

  AttentionOutput result;
  result.output = torch::matmul(dropped.to(values.scalar_type()), values);  // [B, T, Dv]
  if (widens) result.output = result.output.to(output_type);
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
