#include "attend/modules/basic_attention.h"

#include <cmath>

#include "detail/check.h"
#include "detail/print.h"
#include "functional/named_linear.h"

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
  return functional::additive_attention(
      functional::linear(query, q_proj, "BasicAttention query"), projected_key, v, value, mask,
      weights, {.dropout_p = is_training() ? options.dropout() : 0.0, .scale = {}});
}

}  // namespace attend
