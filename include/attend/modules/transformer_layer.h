#pragma once

// For those who build models of layers.

#include <torch/torch.h>

#include <optional>

#include "attend/export.h"
#include "attend/modules/feed_forward.h"
#include "attend/modules/multi_head_attention.h"
#include "attend/modules/norm.h"

namespace attend {

/// The place of the norm in a sublayer.
enum class NormOrder {
  kPost,  // norm(x + f(x)), as in the paper, Marian and BART
  kPre,   // x + f(norm(x)): Xiong et al., 2020, arXiv:2002.04745
};

/// Options for one encoder or decoder layer: the options of its parts, and norm and dropout.
///
///   TransformerLayerOptions(
///       MultiHeadAttentionOptions(512, 8).num_kv_heads(2).rotary(RotaryOptions()))
///       .norm(NormKind::kRms)
///       .feed_forward(FeedForwardOptions(512, 1376).gated(true).activation(Activation::kSwish))
///
/// Source: Vaswani et al., 2017, arXiv:1706.03762, section 3.1, for the short constructor.
/// Throws: nothing by itself; the layer that is made of them refuses what does not fit together.
struct ATTEND_API TransformerLayerOptions {
  TransformerLayerOptions(int64_t embed_dim, int64_t num_heads);
  explicit TransformerLayerOptions(const MultiHeadAttentionOptions& self_attention);

  // The parts. All must have the same embed_dim.
  TORCH_ARG(MultiHeadAttentionOptions, self_attention);
  // Of decoder layers; default: the sizes, dropout and bias of self_attention.
  TORCH_ARG(std::optional<MultiHeadAttentionOptions>, cross_attention);
  TORCH_ARG(FeedForwardOptions, feed_forward);   // default: a hidden layer of 4 E
  TORCH_ARG(NormKind, norm) = NormKind::kLayer;  // of every sublayer
  TORCH_ARG(double, norm_eps) = 1e-5;            // added to the variance or the mean square
  TORCH_ARG(NormOrder, norm_order) = NormOrder::kPost;
  TORCH_ARG(double, dropout) = 0.1;  // on each sublayer's output; [0, 1)

 public:
  // Shortcuts to the parts' options. The attention ones also set cross_attention if it is given.
  int64_t embed_dim() const { return self_attention_.embed_dim(); }
  int64_t num_heads() const { return self_attention_.num_heads(); }
  int64_t feed_forward_dim() const { return feed_forward_.feed_forward_dim(); }
  Activation activation() const { return feed_forward_.activation(); }
  double activation_dropout() const { return feed_forward_.dropout(); }
  double attention_dropout() const { return self_attention_.dropout(); }
  TransformerLayerOptions& feed_forward_dim(int64_t value);
  TransformerLayerOptions& activation(Activation value);
  TransformerLayerOptions& activation_dropout(double value);  // on the hidden layer; [0, 1)
  TransformerLayerOptions& attention_dropout(double value);   // on attention weights; [0, 1)
  TransformerLayerOptions& bias(bool value);                  // on every projection

  /// The options of a decoder layer's cross-attention: `cross_attention`, or its default.
  MultiHeadAttentionOptions effective_cross_attention() const;
  /// The norm of a sublayer.
  NormOptions norm_options() const;
};

}  // namespace attend
