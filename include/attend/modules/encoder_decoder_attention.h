#pragma once

#include "attend/modules/transformer_decoder.h"

namespace attend {

/// Another name of `TransformerDecoderLayer`, after what it adds to an encoder layer: attention
/// from a decoder to an encoder's output.
using EncoderDecoderAttentionImpl = TransformerDecoderLayerImpl;
using EncoderDecoderAttention = TransformerDecoderLayer;

}  // namespace attend
