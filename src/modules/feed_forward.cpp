#include "attend/modules/feed_forward.h"

#include "detail/check.h"
#include "detail/print.h"
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
  const auto projection = [&](const char* name, int64_t from, int64_t to) {
    return register_module(name, detail::make_linear(from, to, options.bias()));
  };
  fc1 = projection("fc1", options.embed_dim(), options.feed_forward_dim());
  fc2 = projection("fc2", options.feed_forward_dim(), options.embed_dim());
  if (options.gated()) {
    gate_proj = projection("gate_proj", options.embed_dim(), options.feed_forward_dim());
  }
}

void FeedForwardImpl::pretty_print(std::ostream& stream) const {
  detail::Printer printer(stream, "FeedForward");
  printer.value("embed_dim", options.embed_dim())
      .value("feed_forward_dim", options.feed_forward_dim());
  detail::print_feed_forward(printer, options);
  printer.end();
}

torch::Tensor FeedForwardImpl::forward(const torch::Tensor& x) {
  return functional::feed_forward(x, fc1, fc2, gate_proj, options.activation(),
                                  is_training() ? options.dropout() : 0.0);
}

}  // namespace attend
