#include "attend/modules/scaled_dot_product_attention.h"

#include "detail/check.h"
#include "detail/print.h"

namespace attend {

ScaledDotProductAttentionImpl::ScaledDotProductAttentionImpl(
    const ScaledDotProductAttentionOptions& options_)
    : options(options_) {
  ScaledDotProductAttentionImpl::reset();
}

void ScaledDotProductAttentionImpl::reset() {
  detail::check_probability("ScaledDotProductAttention", "dropout", options.dropout());
}

void ScaledDotProductAttentionImpl::pretty_print(std::ostream& stream) const {
  detail::Printer printer(stream, "ScaledDotProductAttention");
  printer.value("dropout", options.dropout());
  if (options.scale()) printer.value("scale", *options.scale());
  printer.end();
}

AttentionOutput ScaledDotProductAttentionImpl::forward(const torch::Tensor& query,
                                                       const torch::Tensor& key,
                                                       const torch::Tensor& value,
                                                       const AttentionMask& mask,
                                                       const WeightsRequest& weights) {
  return functional::scaled_dot_product_attention(
      query, key, value, mask, weights,
      {.dropout_p = is_training() ? options.dropout() : 0.0, .scale = options.scale()});
}

}  // namespace attend
