#include "detail/check.h"

#include <ATen/autocast_mode.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

namespace attend::detail {

std::string shape_string(at::IntArrayRef sizes) {
  return fmt::format("[{}]", fmt::join(sizes.begin(), sizes.end(), ", "));
}

void check_shape(std::string_view who, std::string_view what, const at::Tensor& tensor,
                 at::IntArrayRef expected) {
  bool fits = tensor.defined() && tensor.dim() == static_cast<int64_t>(expected.size());
  bool any = false;
  for (size_t d = 0; d < expected.size(); ++d) {
    any |= expected[d] < 0;
    fits = fits && (expected[d] < 0 || tensor.size(static_cast<int64_t>(d)) == expected[d]);
  }
  TORCH_CHECK(fits, who, ": expected ", what, " of shape ", shape_string(expected),
              any ? " (-1 = any)" : "", ", got ",
              tensor.defined() ? shape_string(tensor.sizes()) : "an undefined tensor");
}

void check_rank(std::string_view who, std::string_view what, const at::Tensor& tensor,
                int64_t first, int64_t last) {
  const bool fits = tensor.defined() && tensor.dim() >= first && tensor.dim() <= last;
  TORCH_CHECK(fits, who, ": expected ", what, " with ",
              first == last ? fmt::format("{} dimensions", first)
                            : fmt::format("{} to {} dimensions", first, last),
              ", got ", tensor.defined() ? shape_string(tensor.sizes()) : "an undefined tensor");
}

bool autocast_is_enabled(const at::Tensor& tensor) {
  const auto device = tensor.device().type();
  // For a device without autocast, such as meta, the second call would throw.
  return at::autocast::is_autocast_available(device) && at::autocast::is_autocast_enabled(device);
}

void check_same_kind(std::string_view who, std::string_view what, const at::Tensor& tensor,
                     std::string_view like_what, const at::Tensor& like) {
  TORCH_CHECK(tensor.device() == like.device(), who, ": expected ", what, " on ", like.device(),
              " like ", like_what, ", got ", tensor.device());
  TORCH_CHECK(tensor.scalar_type() == like.scalar_type() || autocast_is_enabled(tensor), who,
              ": expected ", what, " of dtype ", like.scalar_type(), " like ", like_what, ", got ",
              tensor.scalar_type());
}

void check_layer_input(std::string_view who, std::string_view what, const at::Tensor& tensor,
                       const at::Tensor& weight) {
  check_rank(who, what, tensor, 2, 3);
  TORCH_CHECK(tensor.size(-1) == weight.size(-1), who, ": expected ", what, " with a last size of ",
              weight.size(-1), ", got ", shape_string(tensor.sizes()));
  check_same_kind(who, what, tensor, "the weights", weight);
}

void check_ids(std::string_view who, std::string_view what, const at::Tensor& tensor) {
  TORCH_CHECK(
      tensor.defined() && (tensor.scalar_type() == at::kLong || tensor.scalar_type() == at::kInt),
      who, ": expected ", what, " of dtype Long or Int, got ",
      tensor.defined() ? c10::toString(tensor.scalar_type()) : "an undefined tensor");
}

void check_positive(std::string_view who, std::string_view what, int64_t value) {
  TORCH_CHECK_VALUE(value > 0, who, ": expected ", what, " > 0, got ", value);
}

void check_probability(std::string_view who, std::string_view what, double value) {
  TORCH_CHECK_VALUE(value >= 0.0 && value < 1.0, who, ": expected 0 <= ", what, " < 1, got ",
                    value);
}

void check_heads(std::string_view who, int64_t embed_dim, int64_t num_heads) {
  check_positive(who, "embed_dim", embed_dim);
  check_positive(who, "num_heads", num_heads);
  TORCH_CHECK_VALUE(embed_dim % num_heads == 0, who,
                    ": expected embed_dim divisible by num_heads, got embed_dim ", embed_dim,
                    " and num_heads ", num_heads);
}

}  // namespace attend::detail
