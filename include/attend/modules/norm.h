#pragma once

// For those who build models of layers.

#include <torch/torch.h>

#include "attend/export.h"

namespace attend {

/// The kind of normalisation.
enum class NormKind {
  kLayer,  // (x - mean) / sqrt(variance + eps) * weight + bias: Ba et al., 2016, arXiv:1607.06450
  kRms,    // x / sqrt(mean(x^2) + eps) * weight: Zhang and Sennrich, 2019, arXiv:1910.07467
};

/// Options for `Norm`.
struct ATTEND_API NormOptions {
  explicit NormOptions(int64_t size);

  TORCH_ARG(int64_t, size);  // of the last axis
  TORCH_ARG(NormKind, kind) = NormKind::kLayer;
  TORCH_ARG(double, eps) = 1e-5;  // added to the variance or the mean square
};

/// The normalisation of a Transformer's layers: LayerNorm or RMSNorm, with the same weight names.
///
/// Shapes: x [..., size] -> the same.
/// Throws: c10::ValueError for options, c10::Error for shapes.
class ATTEND_API NormImpl : public torch::nn::Cloneable<NormImpl> {
 public:
  explicit NormImpl(int64_t size) : NormImpl(NormOptions(size)) {}
  explicit NormImpl(const NormOptions& options_);
  void reset() override;
  void pretty_print(std::ostream& stream) const override;
  torch::Tensor forward(const torch::Tensor& x);

  NormOptions options;
  torch::Tensor weight;  // [size]
  torch::Tensor bias;    // [size]; only with NormKind::kLayer
};
TORCH_MODULE(Norm);

}  // namespace attend
