#pragma once

#include "attend/models/causal_lm.h"
#include "attend/models/recurrent_seq2seq.h"
#include "attend/models/seq2seq.h"
#include "attend/models/vision_transformer.h"
#include "checkpoint/weights.h"

namespace attend::detail {

/// The names and shapes of the parameters and buffers that a model of these options has, as
/// `named_weights` would give them, without the memory of the model. Options that no model can have
/// give shapes that mean nothing.
NamedShapes layout_of(const Seq2SeqOptions& options);
NamedShapes layout_of(const RecurrentSeq2SeqOptions& options);
NamedShapes layout_of(const CausalLMOptions& options);
NamedShapes layout_of(const VisionTransformerOptions& options);

}  // namespace attend::detail
