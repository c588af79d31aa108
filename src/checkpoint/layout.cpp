#include "checkpoint/layout.h"

#include <fmt/format.h>

namespace attend::detail {
namespace {

void add_linear(NamedShapes& shapes, const std::string& name, int64_t from, int64_t to,
                bool bias = true) {
  shapes[name + ".weight"] = {to, from};
  if (bias) shapes[name + ".bias"] = {to};
}

void add_layer_norm(NamedShapes& shapes, const std::string& name, int64_t dim) {
  shapes[name + ".weight"] = {dim};
  shapes[name + ".bias"] = {dim};
}

void add_gru(NamedShapes& shapes, const std::string& name, int64_t dim) {
  for (const auto* part : {"ih", "hh"}) {
    shapes[fmt::format("{}.weight_{}_l0", name, part)] = {3 * dim, dim};
    shapes[fmt::format("{}.bias_{}_l0", name, part)] = {3 * dim};
  }
}

// An attention with its residual connection's norm, under the names `name` and `name`_layer_norm.
void add_attention(NamedShapes& shapes, const std::string& name, int64_t dim) {
  for (const auto* part : {"q_proj", "k_proj", "v_proj", "out_proj"}) {
    add_linear(shapes, fmt::format("{}.{}", name, part), dim, dim);
  }
  add_layer_norm(shapes, name + "_layer_norm", dim);
}

struct StackLayout {
  int64_t layers, embed_dim, feed_forward_dim;
  bool has_final_norm;
  bool reads_memory;  // a decoder's layers attend to an encoder's output too
};

void add_stack(NamedShapes& shapes, const std::string& name, const StackLayout& stack) {
  const auto dim = stack.embed_dim;
  for (int64_t i = 0; i < stack.layers; ++i) {
    const auto layer = fmt::format("{}.layers.{}.", name, i);
    add_attention(shapes, layer + "self_attn", dim);
    if (stack.reads_memory) add_attention(shapes, layer + "encoder_attn", dim);
    add_linear(shapes, layer + "fc1", dim, stack.feed_forward_dim);
    add_linear(shapes, layer + "fc2", stack.feed_forward_dim, dim);
    add_layer_norm(shapes, layer + "final_layer_norm", dim);
  }
  if (stack.has_final_norm) add_layer_norm(shapes, name + ".layer_norm", dim);
}

}  // namespace

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
  const bool final_norm = o.norm_order() == NormOrder::kPre;
  add_stack(shapes, "model.encoder",
            {o.encoder_layers(), dim, o.encoder_feed_forward_dim(), final_norm, false});
  add_stack(shapes, "model.decoder",
            {o.decoder_layers(), dim, o.decoder_feed_forward_dim(), final_norm, true});
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
  NamedShapes shapes{{"embed_tokens.weight", {o.vocab_size(), o.embed_dim()}},
                     {"embed_positions.weight", {o.max_length(), o.embed_dim()}}};
  add_stack(shapes, "decoder", {o.num_layers(), o.embed_dim(), o.feed_forward_dim(), true, false});
  return shapes;
}

NamedShapes layout_of(const VisionTransformerOptions& o) {
  const auto dim = o.embed_dim(), side = o.image_size() / o.patch_size();
  NamedShapes shapes{
      {"cls_token", {1, 1, dim}},
      {"position_embeddings", {1, 1 + side * side, dim}},
      {"patch_projection.weight", {dim, o.num_channels(), o.patch_size(), o.patch_size()}},
      {"patch_projection.bias", {dim}}};
  add_stack(shapes, "encoder", {o.num_layers(), dim, o.feed_forward_dim(), true, false});
  add_linear(shapes, "classifier", dim, o.num_classes());
  return shapes;
}

}  // namespace attend::detail
