#include "attend/functional/position.h"

#include <cmath>

#include "detail/check.h"

namespace attend::functional {

torch::Tensor sinusoidal_positions(int64_t length, int64_t embed_dim, SinusoidLayout layout,
                                   const torch::TensorOptions& options) {
  TORCH_CHECK_VALUE(length >= 0, "sinusoidal_positions: expected length >= 0, got ", length);
  detail::check_positive("sinusoidal_positions", "embed_dim", embed_dim);
  const auto sines = (embed_dim + 1) / 2, cosines = embed_dim / 2;
  const auto exponent =
      torch::arange(sines, torch::kDouble) * (2.0 / static_cast<double>(embed_dim));
  const auto angles = torch::arange(length, torch::kDouble).unsqueeze(1) *
                      torch::pow(10000.0, -exponent);  // [length, sines]
  auto table = torch::empty({length, embed_dim}, torch::kDouble);
  const auto cosine_values = angles.narrow(1, 0, cosines).cos();
  if (layout == SinusoidLayout::kInterleaved) {
    table.slice(1, 0, embed_dim, 2).copy_(angles.sin());
    table.slice(1, 1, embed_dim, 2).copy_(cosine_values);
  } else {
    table.narrow(1, 0, sines).copy_(angles.sin());
    table.narrow(1, sines, cosines).copy_(cosine_values);
  }
  // TensorOptions without a dtype mean the default one, which Tensor::to would not apply.
  return table.to(options.dtype(options.dtype()));
}

}  // namespace attend::functional
