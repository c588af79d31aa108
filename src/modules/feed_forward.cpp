#include "attend/modules/feed_forward.h"

#include "detail/check.h"
#include "modules/transformer_parts.h"

namespace attend {

FeedForwardOptions::FeedForwardOptions(int64_t embed_dim, int64_t feed_forward_dim)
    : embed_dim_(embed_dim), feed_forward_dim_(feed_forward_dim) {}

FeedForwardImpl::FeedForwardImpl(const FeedForwardOptions& options_) : options(options_) {
  FeedForwardImpl::reset();
}

void FeedForwardImpl::reset() {
  constexpr auto kName = "FeedForward";
  detail::check_positive(kName, "embed_dim", options.embed_dim());
  detail::check_positive(kName, "feed_forward_dim", options.feed_forward_dim());
  detail::check_probability(kName, "dropout", options.dropout());
  fc1 = register_module(
      "fc1", detail::make_linear(options.embed_dim(), options.feed_forward_dim(), options.bias()));
  fc2 = register_module(
      "fc2", detail::make_linear(options.feed_forward_dim(), options.embed_dim(), options.bias()));
}

void FeedForwardImpl::pretty_print(std::ostream& stream) const {
  stream << "attend::FeedForward(embed_dim=" << options.embed_dim()
         << ", feed_forward_dim=" << options.feed_forward_dim() << ")";
}

torch::Tensor FeedForwardImpl::forward(const torch::Tensor& x) {
  return functional::feed_forward(x, fc1, fc2, options.activation(),
                                  is_training() ? options.dropout() : 0.0, "FeedForward");
}

}  // namespace attend
