#pragma once

// For those who build models of layers.

#include <torch/torch.h>

#include <optional>

#include "attend/export.h"
#include "attend/functional/attention.h"

namespace attend {

/// Options for `ScaledDotProductAttention`.
struct ATTEND_API ScaledDotProductAttentionOptions {
  ScaledDotProductAttentionOptions() = default;

  TORCH_ARG(double, dropout) = 0.0;         // on the weights, in training; [0, 1)
  TORCH_ARG(std::optional<double>, scale);  // of the scores; default 1 / sqrt(D)
};

/// Scaled dot-product attention, without learned parameters.
///
///   output = softmax(query key^T * scale + mask) value
///
/// Source: Vaswani et al., 2017, arXiv:1706.03762, equation 1.
/// Shapes: query [B, T, D], key [B, S, D], value [B, S, Dv]
///         -> output [B, T, Dv], weights [B, T, S];
///         also unbatched [T, D] and with heads [B, H, T, D], weights [B, H, T, S].
/// Throws: c10::ValueError for options, c10::Error for shapes.
class ATTEND_API ScaledDotProductAttentionImpl
    : public torch::nn::Cloneable<ScaledDotProductAttentionImpl> {
 public:
  explicit ScaledDotProductAttentionImpl(const ScaledDotProductAttentionOptions& options_ = {});
  void reset() override;
  void pretty_print(std::ostream& stream) const override;
  AttentionOutput forward(const torch::Tensor& query, const torch::Tensor& key,
                          const torch::Tensor& value, const AttentionMask& mask = {},
                          const WeightsRequest& weights = WeightsRequest::kNone);

  ScaledDotProductAttentionOptions options;

 protected:
  FORWARD_HAS_DEFAULT_ARGS({3, torch::nn::AnyValue(AttentionMask())},
                           {4, torch::nn::AnyValue(WeightsRequest())})
};
TORCH_MODULE(ScaledDotProductAttention);

}  // namespace attend
