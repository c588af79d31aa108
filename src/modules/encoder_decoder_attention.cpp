#include "attend/modules/encoder_decoder_attention.h"

#include "detail/check.h"
#include "modules/transformer_parts.h"

namespace attend {

EncoderDecoderAttentionImpl::EncoderDecoderAttentionImpl(const TransformerLayerOptions& options_)
    : options(options_) {
  EncoderDecoderAttentionImpl::reset();
}

void EncoderDecoderAttentionImpl::reset() {
  detail::check_layer_options("EncoderDecoderAttention", options);
  const auto attention = detail::self_attention_options(options);
  self_attn = register_module("self_attn", MultiHeadSelfAttention(attention));
  self_attn_layer_norm = register_module("self_attn_layer_norm", detail::make_layer_norm(options));
  encoder_attn = register_module("encoder_attn", MultiHeadCrossAttention(attention));
  encoder_attn_layer_norm =
      register_module("encoder_attn_layer_norm", detail::make_layer_norm(options));
  fc1 = register_module(
      "fc1", detail::make_linear(options.embed_dim(), options.feed_forward_dim(), options.bias()));
  fc2 = register_module(
      "fc2", detail::make_linear(options.feed_forward_dim(), options.embed_dim(), options.bias()));
  final_layer_norm = register_module("final_layer_norm", detail::make_layer_norm(options));
}

void EncoderDecoderAttentionImpl::pretty_print(std::ostream& stream) const {
  stream << "attend::EncoderDecoderAttention(embed_dim=" << options.embed_dim()
         << ", num_heads=" << options.num_heads()
         << ", feed_forward_dim=" << options.feed_forward_dim() << ")";
}

template <typename SelfAttention, typename CrossAttention>
DecoderLayerOutput EncoderDecoderAttentionImpl::run(const torch::Tensor& target,
                                                    const SelfAttention& attend_to_self,
                                                    const CrossAttention& attend_to_memory) {
  detail::check_layer_input("EncoderDecoderAttention", "target", target,
                            self_attn_layer_norm->weight);
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
  result.output = rule(x, final_layer_norm, [&](const torch::Tensor& y) {
    return functional::feed_forward(y, fc1, fc2, options.activation(),
                                    is_training() ? options.activation_dropout() : 0.0,
                                    "EncoderDecoderAttention");
  });
  return result;
}

DecoderLayerOutput EncoderDecoderAttentionImpl::forward(const torch::Tensor& target,
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

DecoderLayerCache EncoderDecoderAttentionImpl::start(const torch::Tensor& memory,
                                                     const KeyValueCache& self) const {
  return {self, encoder_attn->project_key_value(memory, memory)};
}

DecoderLayerOutput EncoderDecoderAttentionImpl::step(const torch::Tensor& target,
                                                     DecoderLayerCache& cache,
                                                     const AttentionMask& memory_mask,
                                                     const WeightsRequest& weights) {
  constexpr auto kName = "EncoderDecoderAttention::step";
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
    // The K hypotheses of a sentence become K queries of one row: the memory is read once.
    // Whichever of its one new position is requested is that position.
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
    cache.self.truncate(before);  // an error leaves the cache as it was
    throw;
  }
}

}  // namespace attend
