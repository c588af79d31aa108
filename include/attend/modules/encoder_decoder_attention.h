#pragma once

// For those who build models of layers.

#include "attend/modules/transformer_decoder.h"

namespace attend {

/// Another name of `TransformerDecoderLayer`, after what it adds to an encoder layer: attention
/// from a decoder to an encoder's output.
using EncoderDecoderAttentionImpl = TransformerDecoderLayerImpl;
using EncoderDecoderAttention = TransformerDecoderLayer;

}  // namespace attend
