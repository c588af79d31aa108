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

// Runs the layers one after the other: run_layer(layer, x, request) -> DecoderLayerOutput.
template <typename RunLayer>
DecoderOutput TransformerDecoderImpl::run(const torch::Tensor& target,
                                          const WeightsRequest& weights,
                                          const RunLayer& run_layer) {
  DecoderOutput result{target, {}, {}};
  const auto count = static_cast<int64_t>(layers->size());
  for (int64_t i = 0; i < count; ++i) {
    auto next = run_layer(static_cast<size_t>(i), result.output, weights.of_layer(i, count));
    result.output = next.output;
    if (weights.is_none()) continue;
    result.self_weights.push_back(next.self_weights);
    result.cross_weights.push_back(next.cross_weights);
  }
  if (layer_norm) result.output = layer_norm(result.output);
  return result;
}

DecoderOutput TransformerDecoderImpl::forward(const torch::Tensor& target,
                                              const torch::Tensor& memory,
                                              const AttentionMask& target_mask,
                                              const AttentionMask& memory_mask,
                                              const WeightsRequest& weights) {
  return run(target, weights,
             [&](size_t i, const torch::Tensor& x, const WeightsRequest& of_layer) {
               return layers->at<TransformerDecoderLayerImpl>(i).forward(x, memory, target_mask,
                                                                         memory_mask, of_layer);
             });
}

DecoderCache TransformerDecoderImpl::start(const torch::Tensor& memory,
                                           const KeyValueCache& self) const {
  DecoderCache cache;
  for (const auto& layer : *layers) {
    cache.push_back(layer->as<TransformerDecoderLayer>()->start(memory, self));
  }
  return cache;
}

DecoderOutput TransformerDecoderImpl::step(const torch::Tensor& target, DecoderCache& cache,
                                           const AttentionMask& memory_mask,
                                           const WeightsRequest& weights) {
  TORCH_CHECK(cache.size() == layers->size(), "TransformerDecoder::step: expected a cache of ",
              layers->size(), " layers, got ", cache.size());
  std::vector<int64_t> before;
  for (const auto& layer : cache) before.push_back(layer.self.length());
  try {
    return run(target, weights,
               [&](size_t i, const torch::Tensor& x, const WeightsRequest& of_layer) {
                 return layers->at<TransformerDecoderLayerImpl>(i).step(x, cache[i], memory_mask,
                                                                        of_layer);
               });
  } catch (...) {
    // An error leaves the caches of all layers as they were.
    for (size_t i = 0; i < cache.size(); ++i) cache[i].self.truncate(before[i]);
    throw;
  }
}

}  // namespace attend
