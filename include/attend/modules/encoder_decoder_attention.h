#pragma once

#include "attend/modules/transformer_decoder.h"

namespace attend {

/// The decoder layer by the name of what it adds to an encoder layer: attention from a decoder to
/// an encoder's output.
using EncoderDecoderAttentionImpl = TransformerDecoderLayerImpl;
using EncoderDecoderAttention = TransformerDecoderLayer;

}  // namespace attend
