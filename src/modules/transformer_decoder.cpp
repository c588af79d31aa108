#include "attend/modules/transformer_decoder.h"

#include "detail/check.h"
#include "detail/print.h"
#include "modules/transformer_parts.h"

namespace attend {
namespace {

constexpr auto kDecoderLayer = "TransformerDecoderLayer";

}  // namespace

TransformerDecoderLayerImpl::TransformerDecoderLayerImpl(const TransformerLayerOptions& options_)
    : options(options_) {
  TransformerDecoderLayerImpl::reset();
}

void TransformerDecoderLayerImpl::reset() {
  detail::check_layer_options(kDecoderLayer, options);
  const auto cross_attention = options.effective_cross_attention();
  detail::check_cross_attention(kDecoderLayer, cross_attention, options.embed_dim());
  self_attn = register_module("self_attn", MultiHeadSelfAttention(options.self_attention()));
  self_attn_layer_norm = register_module("self_attn_layer_norm", Norm(options.norm_options()));
  encoder_attn = register_module("encoder_attn", MultiHeadCrossAttention(cross_attention));
  encoder_attn_layer_norm =
      register_module("encoder_attn_layer_norm", Norm(options.norm_options()));
  feed_forward = detail::make_feed_forward(*this, options.feed_forward());
  final_layer_norm = register_module("final_layer_norm", Norm(options.norm_options()));
}

void TransformerDecoderLayerImpl::train(bool on) {
  torch::nn::Module::train(on);
  feed_forward->train(on);
}

void TransformerDecoderLayerImpl::pretty_print(std::ostream& stream) const {
  detail::print_layer(stream, kDecoderLayer, options);
}

template <typename SelfAttention, typename CrossAttention>
DecoderLayerOutput TransformerDecoderLayerImpl::run(const torch::Tensor& target,
                                                    const SelfAttention& attend_to_self,
                                                    const CrossAttention& attend_to_memory) {
  detail::check_layer_input(kDecoderLayer, "target", target, self_attn_layer_norm->weight);
  const detail::ResidualRule rule(options, is_training());
  DecoderLayerOutput result;
  auto x = rule(target, self_attn_layer_norm, [&](const torch::Tensor& y) {
    auto [output, weights] = attend_to_self(y);
    result.self_weights = weights;
    return output;
  });
  x = rule(x, encoder_attn_layer_norm, [&](const torch::Tensor& y) {
    auto [output, weights] = attend_to_memory(y);
    result.cross_weights = weights;
    return output;
  });
  result.output =
      rule(x, final_layer_norm, [&](const torch::Tensor& y) { return feed_forward(y); });
  return result;
}

DecoderLayerOutput TransformerDecoderLayerImpl::forward(const torch::Tensor& target,
                                                        const torch::Tensor& memory,
                                                        const AttentionMask& target_mask,
                                                        const AttentionMask& memory_mask,
                                                        const WeightsRequest& weights) {
  return run(
      target,
      [&](const torch::Tensor& x) {
        return self_attn(x, AttentionMask::causal() & target_mask, weights);
      },
      [&](const torch::Tensor& x) { return encoder_attn(x, memory, memory_mask, weights); });
}

DecoderLayerCache TransformerDecoderLayerImpl::start(const torch::Tensor& memory,
                                                     const KeyValueCache& self) const {
  return {self, encoder_attn->project_key_value(memory, memory)};
}

DecoderLayerOutput TransformerDecoderLayerImpl::step(const torch::Tensor& target,
                                                     DecoderLayerCache& cache,
                                                     const AttentionMask& memory_mask,
                                                     const WeightsRequest& weights) {
  constexpr auto kName = "TransformerDecoderLayer::step";
  detail::check_shape(kName, "target", target, {-1, -1, options.embed_dim()});
  TORCH_CHECK(cache.memory.key.defined(), kName,
              ": expected a cache made by start, got an empty one");
  const auto rows = target.size(0), sentences = cache.memory.key.size(0);
  const bool shared = rows != sentences;
  TORCH_CHECK(!shared || (sentences > 0 && rows % sentences == 0 && target.size(1) == 1), kName,
              ": expected target [", sentences, ", T, E], or [", sentences,
              " * K, 1, E] for K hypotheses a sentence, got ",
              detail::shape_string(target.sizes()));
  const auto attend_to_self = [&](const torch::Tensor& x) {
    return self_attn->step(x, cache.self, AttentionMask::causal(), weights);
  };
  const auto attend_to_memory = [&](const torch::Tensor& x) {
    if (!shared) return encoder_attn->attend(x, cache.memory, memory_mask, weights);
    // The K hypotheses of a sentence become K queries of one batch row, so the memory is read once.
    // A request for chosen queries can only mean the single new position, so it is dropped.
    auto of_hypotheses = weights;
    of_hypotheses.queries({});
    auto result = encoder_attn->attend(x.view({sentences, rows / sentences, -1}), cache.memory,
                                       memory_mask, of_hypotheses);
    result.output = result.output.view({rows, 1, -1});
    if (weights.kind() == WeightsRequest::kPerHead) {  // [B, H, K, S] -> [B * K, H, 1, S]
      result.weights = result.weights.transpose(1, 2).flatten(0, 1).unsqueeze(2);
    } else if (weights.kind() == WeightsRequest::kMean) {  // [B, K, S] -> [B * K, 1, S]
      result.weights = result.weights.flatten(0, 1).unsqueeze(1);
    }
    return result;
  };
  const auto before = cache.self.length();
  try {
    return run(target, attend_to_self, attend_to_memory);
  } catch (...) {
    cache.self.truncate(before);  // an error leaves the cache unchanged
    throw;
  }
}

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
    layer_norm = register_module("layer_norm", Norm(options.layer().norm_options()));
  }
}

void TransformerDecoderImpl::pretty_print(std::ostream& stream) const {
  detail::Printer(stream, "TransformerDecoder").value("num_layers", options.num_layers()).end();
}

// Runs the layers in order: run_layer(layer, x, request) -> DecoderLayerOutput.
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
  const auto of_target = target_mask.shared_by_layers(), of_memory = memory_mask.shared_by_layers();
  return run(target, weights,
             [&](size_t i, const torch::Tensor& x, const WeightsRequest& of_layer) {
               return layers->at<TransformerDecoderLayerImpl>(i).forward(x, memory, of_target,
                                                                         of_memory, of_layer);
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
  const auto of_memory = memory_mask.shared_by_layers();
  try {
    return run(
        target, weights, [&](size_t i, const torch::Tensor& x, const WeightsRequest& of_layer) {
          return layers->at<TransformerDecoderLayerImpl>(i).step(x, cache[i], of_memory, of_layer);
        });
  } catch (...) {
    // An error leaves the caches of all layers unchanged.
    for (size_t i = 0; i < cache.size(); ++i) cache[i].self.truncate(before[i]);
    throw;
  }
}

}  // namespace attend
