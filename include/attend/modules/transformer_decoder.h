#pragma once

#include <torch/torch.h>

#include <vector>

#include "attend/export.h"
#include "attend/modules/encoder_decoder_attention.h"

namespace attend {

/// What a decoder returns.
struct DecoderOutput {
  torch::Tensor output;  // [B, T, E]
  // One tensor a layer, if requested; undefined for the layers that were not.
  std::vector<torch::Tensor> self_weights;
  std::vector<torch::Tensor> cross_weights;
};

/// What a decoder keeps between steps: one cache a layer.
using DecoderCache = std::vector<DecoderLayerCache>;

/// Options for `TransformerDecoder`.
struct ATTEND_API TransformerDecoderOptions {
  TransformerDecoderOptions(const TransformerLayerOptions& layer, int64_t num_layers);

  TORCH_ARG(TransformerLayerOptions, layer);  // of every layer
  TORCH_ARG(int64_t, num_layers);             // may be 0
  TORCH_ARG(bool, final_norm);                // a norm after the last layer; default: with pre-norm
};

/// A stack of decoder layers, each with weights of its own from the start.
///
/// Source: Vaswani et al., 2017, arXiv:1706.03762, section 3.1.
/// Shapes: target [B, T, E], memory [B, S, E] -> output [B, T, E]; or without B.
/// Throws: c10::ValueError for options, c10::Error for shapes.
class ATTEND_API TransformerDecoderImpl : public torch::nn::Cloneable<TransformerDecoderImpl> {
 public:
  TransformerDecoderImpl(const TransformerLayerOptions& layer, int64_t num_layers)
      : TransformerDecoderImpl(TransformerDecoderOptions(layer, num_layers)) {}
  explicit TransformerDecoderImpl(const TransformerDecoderOptions& options_);
  void reset() override;
  void pretty_print(std::ostream& stream) const override;

  DecoderOutput forward(const torch::Tensor& target, const torch::Tensor& memory,
                        const AttentionMask& target_mask = {},
                        const AttentionMask& memory_mask = {},
                        const WeightsRequest& weights = WeightsRequest::kNone);

  /// A cache for `step`, with memory [B, S, E] projected once by every layer. Each layer's
  /// self-attention gets a copy of `self`, an empty cache of the kind that is wanted.
  DecoderCache start(const torch::Tensor& memory, const KeyValueCache& self = {}) const;

  /// The new target positions after the cached ones; see `EncoderDecoderAttention::step`.
  DecoderOutput step(const torch::Tensor& target, DecoderCache& cache,
                     const AttentionMask& memory_mask = {},
                     const WeightsRequest& weights = WeightsRequest::kNone);

  TransformerDecoderOptions options;
  torch::nn::ModuleList layers{nullptr};     // of TransformerDecoderLayer
  torch::nn::LayerNorm layer_norm{nullptr};  // only with final_norm

 protected:
  FORWARD_HAS_DEFAULT_ARGS({2, torch::nn::AnyValue(AttentionMask())},
                           {3, torch::nn::AnyValue(AttentionMask())},
                           {4, torch::nn::AnyValue(WeightsRequest())})

 private:
  template <typename RunLayer>
  DecoderOutput run(const torch::Tensor& target, const WeightsRequest& weights,
                    const RunLayer& run_layer);
};
TORCH_MODULE(TransformerDecoder);

}  // namespace attend
