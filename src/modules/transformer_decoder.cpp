#include "attend/modules/transformer_decoder.h"

#include "detail/check.h"
#include "modules/transformer_parts.h"

namespace attend {

TransformerDecoderOptions::TransformerDecoderOptions(const TransformerLayerOptions& layer,
                                                     int64_t num_layers)
    : layer_(layer), num_layers_(num_layers), final_norm_(layer_.norm_order() == NormOrder::kPre) {}

TransformerDecoderImpl::TransformerDecoderImpl(const TransformerDecoderOptions& options_)
    : options(options_) {
  TransformerDecoderImpl::reset();
}

void TransformerDecoderImpl::reset() {
  TORCH_CHECK_VALUE(options.num_layers() >= 0, "TransformerDecoder: expected num_layers >= 0, got ",
                    options.num_layers());
  layers = register_module("layers", torch::nn::ModuleList());
  for (int64_t i = 0; i < options.num_layers(); ++i) {
    layers->push_back(TransformerDecoderLayer(options.layer()));
  }
  if (options.final_norm()) {
    layer_norm = register_module("layer_norm", detail::make_layer_norm(options.layer()));
  }
}

void TransformerDecoderImpl::pretty_print(std::ostream& stream) const {
  stream << "attend::TransformerDecoder(num_layers=" << options.num_layers() << ")";
}

DecoderOutput TransformerDecoderImpl::forward(const torch::Tensor& target,
                                              const torch::Tensor& memory,
                                              const AttentionMask& target_mask,
                                              const AttentionMask& memory_mask,
                                              WeightsRequest weights) {
  DecoderOutput result{target, {}, {}};
  for (const auto& layer : *layers) {
    auto next = layer->as<TransformerDecoderLayer>()->forward(result.output, memory, target_mask,
                                                              memory_mask, weights);
    result.output = next.output;
    if (weights == WeightsRequest::kNone) continue;
    result.self_weights.push_back(next.self_weights);
    result.cross_weights.push_back(next.cross_weights);
  }
  if (layer_norm) result.output = layer_norm(result.output);
  return result;
}

DecoderCache TransformerDecoderImpl::start(const torch::Tensor& memory) const {
  DecoderCache cache;
  for (const auto& layer : *layers) {
    cache.push_back(layer->as<TransformerDecoderLayer>()->start(memory));
  }
  return cache;
}

DecoderOutput TransformerDecoderImpl::step(const torch::Tensor& target, DecoderCache& cache,
                                           const AttentionMask& memory_mask, WeightsRequest weights,
                                           size_t first_weights_layer) {
  TORCH_CHECK(cache.size() == layers->size(), "TransformerDecoder::step: expected a cache of ",
              layers->size(), " layers, got ", cache.size());
  std::vector<int64_t> before;
  for (const auto& layer : cache) before.push_back(layer.self.length());
  try {
    return run_step(target, cache, memory_mask, weights, first_weights_layer);
  } catch (...) {
    // An error leaves the caches of all layers as they were.
    for (size_t i = 0; i < cache.size(); ++i) cache[i].self.truncate(before[i]);
    throw;
  }
}

DecoderOutput TransformerDecoderImpl::run_step(const torch::Tensor& target, DecoderCache& cache,
                                               const AttentionMask& memory_mask,
                                               WeightsRequest weights, size_t first_weights_layer) {
  DecoderOutput result{target, {}, {}};
  for (size_t i = 0; i < layers->size(); ++i) {
    const bool wanted = weights != WeightsRequest::kNone && i >= first_weights_layer;
    auto next = layers[i]->as<TransformerDecoderLayer>()->step(
        result.output, cache[i], memory_mask, wanted ? weights : WeightsRequest::kNone);
    result.output = next.output;
    if (!wanted) continue;
    result.self_weights.push_back(next.self_weights);
    result.cross_weights.push_back(next.cross_weights);
  }
  if (layer_norm) result.output = layer_norm(result.output);
  return result;
}

}  // namespace attend
