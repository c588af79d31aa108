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

/// Sinusoids are worked out, so a file says nothing of how many a model has. A table of up to this
/// many elements is taken at the configuration's word; a larger one if the file is as large.
constexpr int64_t kUnprovenTable = int64_t{1} << 24;

/// Whether the vectors of these positions are worked out.
bool derives_positions(PositionKind kind);

/// Throws: FileError for more sinusoids than that.
void check_derived_positions(const JsonFile& config, PositionKind kind, int64_t max_length,
                             int64_t embed_dim, const WeightsFile& file);

}  // namespace attend::detail
