#pragma once

#include <torch/torch.h>

#include "attend/export.h"

namespace attend {

/// Options for `RMSNorm`.
struct ATTEND_API RMSNormOptions {
  explicit RMSNormOptions(int64_t size);

  TORCH_ARG(int64_t, size);       // of the last axis
  TORCH_ARG(double, eps) = 1e-6;  // added to the mean square
};

/// Divides by the root of the mean square: y = x / sqrt(mean(x^2) + eps) * weight.
///
/// Source: Zhang and Sennrich, 2019, arXiv:1910.07467, equation 4.
/// Shapes: x [..., size] -> the same.
/// Throws: c10::ValueError for options, c10::Error for shapes.
/// Note:   LibTorch has the function, but no module of it in C++.
class ATTEND_API RMSNormImpl : public torch::nn::Cloneable<RMSNormImpl> {
 public:
  explicit RMSNormImpl(int64_t size) : RMSNormImpl(RMSNormOptions(size)) {}
  explicit RMSNormImpl(const RMSNormOptions& options_);
  void reset() override;
  void pretty_print(std::ostream& stream) const override;
  torch::Tensor forward(const torch::Tensor& x);

  RMSNormOptions options;
  torch::Tensor weight;  // [size]
};
TORCH_MODULE(RMSNorm);

}  // namespace attend
