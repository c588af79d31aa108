#include "checkpoint/layout.h"

#include <fmt/format.h>

#include <algorithm>

namespace attend::detail {
namespace {

void add_linear(NamedShapes& shapes, const std::string& name, int64_t from, int64_t to,
                bool bias = true) {
  shapes[name + ".weight"] = {to, from};
  if (bias) shapes[name + ".bias"] = {to};
}

void add_norm(NamedShapes& shapes, const std::string& name, const TransformerLayerOptions& layer) {
  shapes[name + ".weight"] = {layer.embed_dim()};
  if (layer.norm() == NormKind::kLayer) shapes[name + ".bias"] = {layer.embed_dim()};
}

void add_gru(NamedShapes& shapes, const std::string& name, int64_t dim) {
  for (const auto* part : {"ih", "hh"}) {
    shapes[fmt::format("{}.weight_{}_l0", name, part)] = {3 * dim, dim};
    shapes[fmt::format("{}.bias_{}_l0", name, part)] = {3 * dim};
  }
}

void add_attention(NamedShapes& shapes, const std::string& name,
                   const MultiHeadAttentionOptions& o) {
  const auto head_dim = o.embed_dim() / std::max<int64_t>(o.num_heads(), 1);
  const auto kv_dim =
      o.num_kv_heads() == o.num_heads() ? o.embed_dim() : head_dim * o.num_kv_heads();
  add_linear(shapes, name + ".q_proj", o.query_dim(), o.embed_dim(), o.bias());
  add_linear(shapes, name + ".k_proj", o.key_dim(), kv_dim, o.bias());
  add_linear(shapes, name + ".v_proj", o.value_dim(), kv_dim, o.bias());
  add_linear(shapes, name + ".out_proj", o.embed_dim(), o.embed_dim(), o.bias());
  if (o.qk_norm()) {
    shapes[name + ".q_norm.weight"] = {head_dim};
    shapes[name + ".k_norm.weight"] = {head_dim};
  }
  if (o.relative_bias()) {
    shapes[name + ".relative_attention_bias.weight"] = {o.relative_bias()->num_buckets,
                                                        o.num_heads()};
  }
  if (o.sinks()) shapes[name + ".sinks"] = {o.num_heads()};
  if (o.add_bias_kv()) {
    shapes[name + ".bias_k"] = {1, 1, kv_dim};
    shapes[name + ".bias_v"] = {1, 1, kv_dim};
  }
}

// The default of final_norm.
bool has_final_norm(const TransformerLayerOptions& layer) {
  return layer.norm_order() == NormOrder::kPre;
}

struct StackLayout {
  TransformerLayerOptions layer;
  int64_t layers;
  bool has_final_norm;
  bool reads_memory;  // has cross-attention, as a decoder's layers do
};

void add_stack(NamedShapes& shapes, const std::string& name, const StackLayout& stack) {
  const auto& feed_forward = stack.layer.feed_forward();
  const auto dim = stack.layer.embed_dim(), hidden = feed_forward.feed_forward_dim();
  for (int64_t i = 0; i < stack.layers; ++i) {
    const auto layer = fmt::format("{}.layers.{}.", name, i);
    add_attention(shapes, layer + "self_attn", stack.layer.self_attention());
    add_norm(shapes, layer + "self_attn_layer_norm", stack.layer);
    if (stack.reads_memory) {
      add_attention(shapes, layer + "encoder_attn", stack.layer.effective_cross_attention());
      add_norm(shapes, layer + "encoder_attn_layer_norm", stack.layer);
    }
    add_linear(shapes, layer + "fc1", dim, hidden, feed_forward.bias());
    add_linear(shapes, layer + "fc2", hidden, dim, feed_forward.bias());
    if (feed_forward.gated())
      add_linear(shapes, layer + "gate_proj", dim, hidden, feed_forward.bias());
    add_norm(shapes, layer + "final_layer_norm", stack.layer);
  }
  if (stack.has_final_norm) add_norm(shapes, name + ".layer_norm", stack.layer);
}

}  // namespace

bool derives_positions(PositionKind kind) {
  return kind == PositionKind::kSinusoidal || kind == PositionKind::kSinusoidalHalves;
}

void check_derived_positions(const JsonFile& config, PositionKind kind, int64_t max_length,
                             int64_t embed_dim, const WeightsFile& file) {
  if (!derives_positions(kind)) return;
  const auto most = std::max(kUnprovenTable, file.numel()) / embed_dim;
  if (max_length > most) {
    throw FileError(config.path(),
                    fmt::format("expected max_position_embeddings of at most {} for a model of "
                                "this size, got {}",
                                most, max_length));
  }
}

NamedShapes layout_of(const Seq2SeqOptions& o) {
  NamedShapes shapes;
  const auto dim = o.embed_dim();
  if (o.share_embeddings()) {
    shapes["model.shared.weight"] = {o.src_vocab(), dim};
  } else {
    shapes["model.encoder.embed_tokens.weight"] = {o.src_vocab(), dim};
    shapes["model.decoder.embed_tokens.weight"] = {o.tgt_vocab(), dim};
  }
  if (o.positions() == PositionKind::kLearned) {
    shapes["model.encoder.embed_positions.weight"] = {o.max_length(), dim};
    shapes["model.decoder.embed_positions.weight"] = {o.max_length(), dim};
  }
  add_stack(shapes, "model.encoder",
            {o.encoder_layer(), o.encoder_layers(), has_final_norm(o.encoder_layer()), false});
  add_stack(shapes, "model.decoder",
            {o.decoder_layer(), o.decoder_layers(), has_final_norm(o.decoder_layer()), true});
  shapes["final_logits_bias"] = {1, o.tgt_vocab()};
  if (!o.tie_output()) shapes["lm_head.weight"] = {o.tgt_vocab(), dim};
  return shapes;
}

NamedShapes layout_of(const RecurrentSeq2SeqOptions& o) {
  NamedShapes shapes;
  const auto dim = o.embed_dim();
  if (o.share_embeddings()) {
    shapes["shared.weight"] = {o.src_vocab(), dim};
  } else {
    shapes["embed_source.weight"] = {o.src_vocab(), dim};
    shapes["embed_target.weight"] = {o.tgt_vocab(), dim};
  }
  for (const auto* name : {"encoder_forward", "encoder_backward", "decoder"}) {
    add_gru(shapes, name, dim);
  }
  add_linear(shapes, "bridge", 2 * dim, dim);
  add_linear(shapes, "attention.q_proj", dim, o.attention_dim(), false);
  add_linear(shapes, "attention.k_proj", 2 * dim, o.attention_dim(), false);
  shapes["attention.v"] = {o.attention_dim()};
  add_linear(shapes, "combine", 3 * dim, dim);
  shapes["final_logits_bias"] = {1, o.tgt_vocab()};
  if (!o.tie_output()) add_linear(shapes, "lm_head", dim, o.tgt_vocab(), false);
  return shapes;
}

NamedShapes layout_of(const CausalLMOptions& o) {
  NamedShapes shapes{{"embed_tokens.weight", {o.vocab_size(), o.embed_dim()}}};
  if (o.positions() == PositionKind::kLearned) {
    shapes["embed_positions.weight"] = {o.max_length(), o.embed_dim()};
  }
  add_stack(shapes, "decoder", {o.layer(), o.num_layers(), o.final_norm(), false});
  if (!o.tie_output()) add_linear(shapes, "lm_head", o.embed_dim(), o.vocab_size(), false);
  return shapes;
}

NamedShapes layout_of(const VisionTransformerOptions& o) {
  const auto dim = o.embed_dim(), side = o.image_size() / o.patch_size();
  NamedShapes shapes{
      {"cls_token", {1, 1, dim}},
      {"patch_projection.weight", {dim, o.num_channels(), o.patch_size(), o.patch_size()}},
      {"patch_projection.bias", {dim}}};
  if (o.positions() == PositionKind::kLearned) {
    shapes["position_embeddings"] = {1, 1 + side * side, dim};
  }
  add_stack(shapes, "encoder", {o.layer(), o.num_layers(), has_final_norm(o.layer()), false});
  add_linear(shapes, "classifier", dim, o.num_classes());
  return shapes;
}

}  // namespace attend::detail
