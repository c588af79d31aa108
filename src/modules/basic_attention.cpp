#include "attend/modules/basic_attention.h"

#include <cmath>

#include "attend/functional/heads.h"
#include "detail/check.h"
#include "detail/print.h"
#include "functional/lowered_mask.h"
#include "functional/named_linear.h"
#include "modules/enum_names.h"

namespace attend {

BasicAttentionOptions::BasicAttentionOptions(int64_t query_dim, int64_t key_dim, int64_t hidden_dim)
    : query_dim_(query_dim), key_dim_(key_dim), hidden_dim_(hidden_dim) {}

BasicAttentionImpl::BasicAttentionImpl(const BasicAttentionOptions& options_) : options(options_) {
  BasicAttentionImpl::reset();
}

void BasicAttentionImpl::reset() {
  constexpr auto kName = "BasicAttention";
  detail::check_positive(kName, "query_dim", options.query_dim());
  detail::check_positive(kName, "key_dim", options.key_dim());
  detail::check_positive(kName, "hidden_dim", options.hidden_dim());
  detail::check_probability(kName, "dropout", options.dropout());
  detail::check_positive(kName, "num_heads", options.num_heads());
  TORCH_CHECK_VALUE(options.hidden_dim() % options.num_heads() == 0, kName,
                    ": expected hidden_dim divisible by num_heads ", options.num_heads(), ", got ",
                    options.hidden_dim());
  TORCH_CHECK_VALUE(options.score_clip() >= 0.0, kName, ": expected score_clip >= 0, got ",
                    options.score_clip());
  const auto projection = [&](int64_t from, bool bias) {
    return torch::nn::Linear(torch::nn::LinearOptions(from, options.hidden_dim()).bias(bias));
  };
  q_proj = register_module("q_proj", projection(options.query_dim(), options.bias()));
  k_proj = register_module("k_proj", projection(options.key_dim(), false));
  v = register_parameter("v", torch::empty({options.hidden_dim()}));
  // Initialised like the weight of a Linear(hidden_dim, 1).
  const double bound = 1.0 / std::sqrt(static_cast<double>(options.hidden_dim()));
  torch::nn::init::uniform_(v, -bound, bound);
}

void BasicAttentionImpl::pretty_print(std::ostream& stream) const {
  detail::Printer(stream, "BasicAttention")
      .value("query_dim", options.query_dim())
      .value("key_dim", options.key_dim())
      .value("hidden_dim", options.hidden_dim())
      .changed("bias", options.bias(), false)
      .changed("dropout", options.dropout(), 0.0)
      .changed("num_heads", options.num_heads(), int64_t{1})
      .changed("score_function", detail::name_of(options.score_function()), std::string("tanh"))
      .changed("negative_slope", options.negative_slope(), 0.2)
      .changed("score_clip", options.score_clip(), 0.0)
      .end();
}

AttentionOutput BasicAttentionImpl::forward(const torch::Tensor& query, const torch::Tensor& key,
                                            const torch::Tensor& value, const AttentionMask& mask,
                                            const WeightsRequest& weights) {
  return attend(query, project_key(key), value, mask, weights);
}

torch::Tensor BasicAttentionImpl::project_key(const torch::Tensor& key) const {
  detail::check_rank("BasicAttention", "key", key, 2, 3);
  return functional::linear(key, k_proj, "BasicAttention key");
}

AttentionOutput BasicAttentionImpl::attend(const torch::Tensor& query,
                                           const torch::Tensor& projected_key,
                                           const torch::Tensor& value, const AttentionMask& mask,
                                           const WeightsRequest& weights) const {
  detail::check_rank("BasicAttention", "query", query, 2, 3);
  const auto projected = functional::linear(query, q_proj, "BasicAttention query");
  const functional::AdditiveAttentionParameters parameters{
      .dropout_p = is_training() ? options.dropout() : 0.0,
      .score_function = options.score_function(),
      .negative_slope = options.negative_slope(),
      .score_clip = options.score_clip()};
  const auto heads = options.num_heads();
  if (heads == 1) {
    return functional::additive_attention(projected, projected_key, v, value, mask, weights,
                                          parameters);
  }
  detail::check_rank("BasicAttention", "key", projected_key, query.dim(), query.dim());
  detail::check_rank("BasicAttention", "value", value, query.dim(), query.dim());
  const bool unbatched = query.dim() == 2;
  const auto split = [&](const torch::Tensor& x) {
    return functional::split_heads(unbatched ? x.unsqueeze(0) : x, heads);
  };
  auto [output, found] = functional::additive_attention(
      split(projected), split(projected_key), v.view({heads, -1}), split(value),
      unbatched ? functional::with_batch_axis(mask) : mask, weights, parameters);
  output = functional::merge_heads(output);
  if (!unbatched) return {output, found};
  return {output.squeeze(0), found.defined() ? found.squeeze(0) : found};
}

}  // namespace attend
