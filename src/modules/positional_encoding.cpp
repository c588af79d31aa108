#include "attend/modules/positional_encoding.h"

#include "detail/check.h"
#include "detail/print.h"
#include "modules/enum_names.h"
#include "modules/initial_weights.h"
#include "modules/transformer_parts.h"

namespace attend {

PositionalEncodingOptions::PositionalEncodingOptions(int64_t embed_dim, int64_t max_length)
    : embed_dim_(embed_dim), max_length_(max_length) {}

PositionalEncodingImpl::PositionalEncodingImpl(const PositionalEncodingOptions& options_)
    : options(options_) {
  PositionalEncodingImpl::reset();
}

void PositionalEncodingImpl::reset() {
  constexpr auto kName = "PositionalEncoding";
  detail::check_positive(kName, "embed_dim", options.embed_dim());
  detail::check_positive(kName, "max_length", options.max_length());
  detail::check_probability(kName, "dropout", options.dropout());
  switch (options.kind()) {
    case PositionKind::kLearned:
      weight =
          register_parameter("weight", torch::empty({options.max_length(), options.embed_dim()}));
      detail::initialize_normal(weight, 0.02);
      break;
    case PositionKind::kSinusoidal:
    case PositionKind::kSinusoidalHalves:
      // reset() also runs in a clone, whose table must keep its dtype and device.
      weight = derived_table(weight.defined() ? weight.options() : torch::TensorOptions());
      break;
    case PositionKind::kNone:
      break;
  }
}

bool PositionalEncodingImpl::is_derived() const {
  return options.kind() == PositionKind::kSinusoidal ||
         options.kind() == PositionKind::kSinusoidalHalves;
}

torch::Tensor PositionalEncodingImpl::derived_table(const torch::TensorOptions& like) const {
  const auto layout = options.kind() == PositionKind::kSinusoidal ? SinusoidLayout::kInterleaved
                                                                  : SinusoidLayout::kHalves;
  return functional::sinusoidal_positions(options.max_length(), options.embed_dim(), layout, like);
}

std::shared_ptr<torch::nn::Module> PositionalEncodingImpl::clone(
    const std::optional<torch::Device>& device) const {
  auto copy = Cloneable::clone(device);
  if (device) copy->to(*device);
  return copy;
}

void PositionalEncodingImpl::pretty_print(std::ostream& stream) const {
  detail::Printer(stream, "PositionalEncoding")
      .value("embed_dim", options.embed_dim())
      .value("max_length", options.max_length())
      .changed("kind", detail::name_of(options.kind()), detail::name_of(PositionKind::kSinusoidal))
      .changed("dropout", options.dropout(), 0.0)
      .end();
}

// Recomputes a sinusoidal table in the new dtype: converting float32 values to float64 would not
// give the formula's precision.
void PositionalEncodingImpl::to(torch::Device device, torch::Dtype dtype, bool non_blocking) {
  Cloneable::to(device, dtype, non_blocking);
  to(dtype, non_blocking);
  to(device, non_blocking);
}

void PositionalEncodingImpl::to(torch::Dtype dtype, bool non_blocking) {
  Cloneable::to(dtype, non_blocking);
  if (is_derived()) weight = derived_table(weight.options().dtype(dtype));
}

void PositionalEncodingImpl::to(torch::Device device, bool non_blocking) {
  Cloneable::to(device, non_blocking);
  if (is_derived()) weight = weight.to(device, non_blocking);
}

torch::Tensor PositionalEncodingImpl::forward(const torch::Tensor& x, int64_t offset) {
  constexpr auto kName = "PositionalEncoding";
  if (weight.defined()) {
    detail::check_layer_input(kName, "x", x, weight);
  } else {
    detail::check_rank(kName, "x", x, 2, 3);
  }
  TORCH_CHECK_VALUE(offset >= 0 && offset <= options.max_length() - x.size(-2), kName,
                    ": expected positions within max_length ", options.max_length(), ", got ",
                    offset, " + ", x.size(-2));
  return detail::apply_dropout(weight.defined() ? x + weight.narrow(0, offset, x.size(-2)) : x,
                               options.dropout(), is_training());
}

torch::Tensor PositionalEncodingImpl::at_positions(const torch::Tensor& x,
                                                   const torch::Tensor& positions) {
  constexpr auto kName = "PositionalEncoding";
  detail::check_shape(kName, "x", x, {-1, -1, options.embed_dim()});
  detail::check_shape(kName, "positions", positions, {x.size(0), x.size(1)});
  return detail::apply_dropout(weight.defined() ? x + torch::embedding(weight, positions) : x,
                               options.dropout(), is_training());
}

}  // namespace attend
