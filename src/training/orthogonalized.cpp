#include "training/orthogonalized.h"

#include "detail/check.h"

namespace attend::detail {

torch::Tensor orthogonalized(const torch::Tensor& x, int64_t iterations) {
  check_positive("orthogonalized", "iterations", iterations);
  TORCH_CHECK(x.defined() && x.dim() >= 2, "orthogonalized: expected [.., M, N], got ",
              x.defined() ? shape_string(x.sizes()) : "an undefined tensor");
  // x <- a x + b (x x^T) x + c (x x^T)^2 x takes singular values from nearly 0 to about 1 in few
  // steps. Source: Jordan et al., 2024, "Newton-Schulz iteration".
  constexpr double kA = 3.4445, kB = -4.7750, kC = 2.0315, kSmallest = 1e-7;
  if (x.numel() == 0) return x.clone();
  const auto shape = wide(x).sizes().vec();
  auto y = wide(x).reshape({-1, shape[shape.size() - 2], shape.back()});
  y = y /
      at::linalg_vector_norm(y, 2, at::IntArrayRef{-2, -1}, /*keepdim=*/true).clamp_min(kSmallest);
  for (int64_t i = 0; i < iterations; ++i) {
    const auto square = at::bmm(y, y.transpose(-2, -1));
    y = at::baddbmm(y, at::baddbmm(square, square, square, kB, kC), y, kA, 1.0);
  }
  y = y.view(shape);
  return x.size(-2) > x.size(-1) ? y.transpose(-2, -1) : y;
}

}  // namespace attend::detail
