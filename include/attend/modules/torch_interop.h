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

// Weights to and from the C++ classes of torch::nn.
//
// copy_weights overwrites the weights of `to` with those of `from`, in the dtype and on the device
// of `to`. from_torch and to_torch make a new module that computes the same as `from`, with its
// options, dtype, device and training mode. The two share no memory.
//
// Throws: c10::ValueError where the two sides would not compute the same (sizes, heads, bias,
//         activation, norm), or where one has what the other lacks: user-defined activations in
//         torch::nn; pre-norm, swish, a query size of its own and most variants here.
//         c10::Error where a weight has another shape than its module's options say.
//         All of it is checked before anything is copied.
// Note:   copy_weights does not compare dropout, which is no part of the weights. torch::nn is
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

/// The two stacks of a torch::nn::Transformer, which has no layers beside them.
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

/// As `from_torch`, for a module that is used on one sequence.
ATTEND_API MultiHeadSelfAttention
self_attention_from_torch(const torch::nn::MultiheadAttention& from);

ATTEND_API torch::nn::MultiheadAttention to_torch(const MultiHeadAttention& from);
ATTEND_API torch::nn::MultiheadAttention to_torch(const MultiHeadSelfAttention& from);
ATTEND_API torch::nn::MultiheadAttention to_torch(const MultiHeadCrossAttention& from);
ATTEND_API torch::nn::TransformerEncoderLayer to_torch(const TransformerEncoderLayer& from);
ATTEND_API torch::nn::TransformerDecoderLayer to_torch(const TransformerDecoderLayer& from);
ATTEND_API torch::nn::TransformerEncoder to_torch(const TransformerEncoder& from);
ATTEND_API torch::nn::TransformerDecoder to_torch(const TransformerDecoder& from);

/// A torch::nn::Transformer has one set of options for both stacks, each with a final norm.
ATTEND_API torch::nn::Transformer to_torch(const TransformerStacks& from);

/// The weights under the names of a Python state dict of the torch.nn module that computes the same
/// (`in_proj_weight`, or `q_proj_weight` and its like where sizes differ; `layers.0.linear1.weight`),
/// as copies. With checkpoint/safetensors.h, they go to Python.
/// Module: one that `to_torch` takes, TransformerStacks included.
template <typename Module>
ATTEND_API std::map<std::string, torch::Tensor> torch_state(const Module& from);

/// Fills a module from such a state dict, in the module's own dtype and on its device.
/// Throws: c10::Error that lists every tensor that is missing, not used, or of another shape; then
///         nothing is changed.
template <typename Module>
ATTEND_API void load_torch_state(const std::map<std::string, torch::Tensor>& state, Module& to);

}  // namespace attend
