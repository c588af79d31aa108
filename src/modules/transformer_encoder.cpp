#include "attend/modules/transformer_encoder.h"

#include "detail/check.h"
#include "detail/print.h"
#include "modules/transformer_parts.h"

namespace attend {
namespace {

constexpr auto kEncoderLayer = "TransformerEncoderLayer";

}  // namespace

TransformerEncoderLayerImpl::TransformerEncoderLayerImpl(const TransformerLayerOptions& options_)
    : options(options_) {
  TransformerEncoderLayerImpl::reset();
}

void TransformerEncoderLayerImpl::reset() {
  detail::check_layer_options(kEncoderLayer, options);
  TORCH_CHECK_VALUE(
      !options.cross_attention(), kEncoderLayer,
      ": expected options without cross_attention, which a decoder layer has, got it");
  self_attn = register_module("self_attn", MultiHeadSelfAttention(options.self_attention()));
  self_attn_layer_norm = register_module("self_attn_layer_norm", Norm(options.norm_options()));
  feed_forward = detail::make_feed_forward(*this, options.feed_forward());
  final_layer_norm = register_module("final_layer_norm", Norm(options.norm_options()));
}

void TransformerEncoderLayerImpl::train(bool on) {
  torch::nn::Module::train(on);
  feed_forward->train(on);
}

void TransformerEncoderLayerImpl::pretty_print(std::ostream& stream) const {
  detail::print_layer(stream, kEncoderLayer, options);
}

template <typename SelfAttention>
AttentionOutput TransformerEncoderLayerImpl::run(const torch::Tensor& x,
                                                 const SelfAttention& attend_to_self) {
  detail::check_layer_input(kEncoderLayer, "x", x, self_attn_layer_norm->weight);
  const detail::ResidualRule rule(options, is_training());
  AttentionOutput result;
  const auto attended = rule(x, self_attn_layer_norm, [&](const torch::Tensor& y) {
    auto attention = attend_to_self(y);
    result.weights = attention.weights;
    return attention.output;
  });
  result.output =
      rule(attended, final_layer_norm, [&](const torch::Tensor& y) { return feed_forward(y); });
  return result;
}

AttentionOutput TransformerEncoderLayerImpl::forward(const torch::Tensor& x,
                                                     const AttentionMask& mask,
                                                     const WeightsRequest& weights) {
  return run(x, [&](const torch::Tensor& y) { return self_attn(y, mask, weights); });
}

AttentionOutput TransformerEncoderLayerImpl::step(const torch::Tensor& x, KeyValueCache& cache,
                                                  const AttentionMask& mask,
                                                  const WeightsRequest& weights) {
  const auto before = cache.length();
  try {
    return run(x, [&](const torch::Tensor& y) {
      return self_attn->step(y, cache, AttentionMask::causal() & mask, weights);
    });
  } catch (...) {
    cache.truncate(before);
    throw;
  }
}

TransformerEncoderOptions::TransformerEncoderOptions(const TransformerLayerOptions& layer,
                                                     int64_t num_layers)
    : layer_(layer), num_layers_(num_layers), final_norm_(layer_.norm_order() == NormOrder::kPre) {}

TransformerEncoderImpl::TransformerEncoderImpl(const TransformerEncoderOptions& options_)
    : options(options_) {
  TransformerEncoderImpl::reset();
}

void TransformerEncoderImpl::reset() {
  TORCH_CHECK_VALUE(options.num_layers() >= 0, "TransformerEncoder: expected num_layers >= 0, got ",
                    options.num_layers());
  layers = register_module("layers", torch::nn::ModuleList());
  for (int64_t i = 0; i < options.num_layers(); ++i) {
    layers->push_back(TransformerEncoderLayer(options.layer()));
  }
  if (options.final_norm()) {
    layer_norm = register_module("layer_norm", Norm(options.layer().norm_options()));
  }
}

void TransformerEncoderImpl::pretty_print(std::ostream& stream) const {
  detail::Printer(stream, "TransformerEncoder").value("num_layers", options.num_layers()).end();
}

// Runs the layers in order: run_layer(layer, x, request) -> AttentionOutput.
template <typename RunLayer>
EncoderOutput TransformerEncoderImpl::run(const torch::Tensor& x, const WeightsRequest& weights,
                                          const RunLayer& run_layer) {
  EncoderOutput result{x, {}};
  const auto count = static_cast<int64_t>(layers->size());
  for (int64_t i = 0; i < count; ++i) {
    auto next = run_layer(static_cast<size_t>(i), result.output, weights.of_layer(i, count));
    result.output = next.output;
    if (!weights.is_none()) result.weights.push_back(next.weights);
  }
  if (layer_norm) result.output = layer_norm(result.output);
  return result;
}

EncoderOutput TransformerEncoderImpl::forward(const torch::Tensor& x, const AttentionMask& mask,
                                              const WeightsRequest& weights) {
  const auto shared = mask.shared_by_layers();
  return run(x, weights, [&](size_t i, const torch::Tensor& y, const WeightsRequest& of_layer) {
    return layers->at<TransformerEncoderLayerImpl>(i).forward(y, shared, of_layer);
  });
}

EncoderOutput TransformerEncoderImpl::step(const torch::Tensor& x,
                                           std::vector<KeyValueCache>& caches,
                                           const AttentionMask& mask,
                                           const WeightsRequest& weights) {
  TORCH_CHECK(caches.size() == layers->size(), "TransformerEncoder::step: expected ",
              layers->size(), " caches, one for each layer, got ", caches.size());
  const auto shared = mask.shared_by_layers();
  return run(x, weights, [&](size_t i, const torch::Tensor& y, const WeightsRequest& of_layer) {
    return layers->at<TransformerEncoderLayerImpl>(i).step(y, caches[i], shared, of_layer);
  });
}

}  // namespace attend
