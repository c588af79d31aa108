#pragma once

// For those who bring weights from torch::nn, or take them there.

#include <torch/torch.h>

#include <map>
#include <string>

#include "attend/export.h"
#include "attend/modules/causal_self_attention.h"
#include "attend/modules/encoder_decoder_attention.h"
#include "attend/modules/multi_head_attention.h"
#include "attend/modules/multi_head_cross_attention.h"
#include "attend/modules/multi_head_self_attention.h"
#include "attend/modules/transformer_decoder.h"
#include "attend/modules/transformer_encoder.h"

namespace attend {

// Conversion from and to the C++ classes of torch::nn.
//
// copy_weights overwrites the weights of `to` with those of `from`, in the dtype and on the device
// of `to`. from_torch and to_torch make a new module that computes the same as `from`, with its
// options, dtype, device and training mode. The two share no memory.
//
// Throws: c10::ValueError if the modules would not compute the same (sizes, heads, bias,
//         activation, norm), or if one side does not support an option: user-defined activations of
//         torch::nn; pre-norm, swish, query_dim != embed_dim and most variants of attend.
//         c10::Error if a weight's shape contradicts its module's options. Everything is checked
//         before anything is copied.
// Note:   copy_weights does not compare dropout. torch::nn is sequence first and its bool masks
//         mean true = ignore; functional/mask.h converts them.
//         sequence first and its bool masks mean true = ignore; functional/mask.h converts those.

ATTEND_API void copy_weights(const torch::nn::MultiheadAttention& from, MultiHeadAttention& to);
ATTEND_API void copy_weights(const torch::nn::MultiheadAttention& from, MultiHeadSelfAttention& to);
ATTEND_API void copy_weights(const torch::nn::MultiheadAttention& from,
                             MultiHeadCrossAttention& to);
ATTEND_API void copy_weights(const torch::nn::MultiheadAttention& from, CausalSelfAttention& to);
ATTEND_API void copy_weights(const torch::nn::TransformerEncoderLayer& from,
                             TransformerEncoderLayer& to);
ATTEND_API void copy_weights(const torch::nn::TransformerDecoderLayer& from,
                             TransformerDecoderLayer& to);
ATTEND_API void copy_weights(const torch::nn::TransformerEncoder& from, TransformerEncoder& to);
ATTEND_API void copy_weights(const torch::nn::TransformerDecoder& from, TransformerDecoder& to);

ATTEND_API void copy_weights(const MultiHeadAttention& from, torch::nn::MultiheadAttention& to);
ATTEND_API void copy_weights(const MultiHeadSelfAttention& from, torch::nn::MultiheadAttention& to);
ATTEND_API void copy_weights(const MultiHeadCrossAttention& from,
                             torch::nn::MultiheadAttention& to);
ATTEND_API void copy_weights(const CausalSelfAttention& from, torch::nn::MultiheadAttention& to);
ATTEND_API void copy_weights(const TransformerEncoderLayer& from,
                             torch::nn::TransformerEncoderLayer& to);
ATTEND_API void copy_weights(const TransformerDecoderLayer& from,
                             torch::nn::TransformerDecoderLayer& to);
ATTEND_API void copy_weights(const TransformerEncoder& from, torch::nn::TransformerEncoder& to);
ATTEND_API void copy_weights(const TransformerDecoder& from, torch::nn::TransformerDecoder& to);

/// The two stacks of a torch::nn::Transformer, which has no other layers.
struct TransformerStacks {
  TransformerEncoder encoder{nullptr};
  TransformerDecoder decoder{nullptr};
};

ATTEND_API void copy_weights(const torch::nn::Transformer& from, TransformerStacks& to);
ATTEND_API void copy_weights(const TransformerStacks& from, torch::nn::Transformer& to);

ATTEND_API MultiHeadAttention from_torch(const torch::nn::MultiheadAttention& from);
ATTEND_API TransformerEncoderLayer from_torch(const torch::nn::TransformerEncoderLayer& from);
ATTEND_API TransformerDecoderLayer from_torch(const torch::nn::TransformerDecoderLayer& from);
ATTEND_API TransformerEncoder from_torch(const torch::nn::TransformerEncoder& from);
ATTEND_API TransformerDecoder from_torch(const torch::nn::TransformerDecoder& from);
ATTEND_API TransformerStacks from_torch(const torch::nn::Transformer& from);

/// `from_torch` for self-attention.
ATTEND_API MultiHeadSelfAttention
self_attention_from_torch(const torch::nn::MultiheadAttention& from);

ATTEND_API torch::nn::MultiheadAttention to_torch(const MultiHeadAttention& from);
ATTEND_API torch::nn::MultiheadAttention to_torch(const MultiHeadSelfAttention& from);
ATTEND_API torch::nn::MultiheadAttention to_torch(const MultiHeadCrossAttention& from);
ATTEND_API torch::nn::TransformerEncoderLayer to_torch(const TransformerEncoderLayer& from);
ATTEND_API torch::nn::TransformerDecoderLayer to_torch(const TransformerDecoderLayer& from);
ATTEND_API torch::nn::TransformerEncoder to_torch(const TransformerEncoder& from);
ATTEND_API torch::nn::TransformerDecoder to_torch(const TransformerDecoder& from);

/// Makes a torch::nn::Transformer. It has one set of options for both stacks, and final norms.
ATTEND_API torch::nn::Transformer to_torch(const TransformerStacks& from);

/// A copy of the weights as the state dict of the Python torch.nn module that computes the same,
/// with its names (`in_proj_weight`, or `q_proj_weight` etc. if sizes differ;
/// `layers.0.linear1.weight`). checkpoint/safetensors.h writes it to a file for Python. Module: any
/// that `to_torch` accepts, or TransformerStacks.
template <typename Module>
ATTEND_API std::map<std::string, torch::Tensor> torch_state(const Module& from);

/// Loads such a state dict into a module, in the module's own dtype and on its device.
/// Throws: c10::Error that lists every tensor that is missing, unused or of the wrong shape; the
///         module is unchanged then.
template <typename Module>
ATTEND_API void load_torch_state(const std::map<std::string, torch::Tensor>& state, Module& to);

}  // namespace attend
