#pragma once

#include "attend/models/causal_lm.h"
#include "attend/models/recurrent_seq2seq.h"
#include "attend/models/seq2seq.h"
#include "attend/models/vision_transformer.h"
#include "checkpoint/weights.h"

namespace attend::detail {

/// The names and shapes of the parameters and buffers of a model with these options, as
/// `named_weights` would return them, without allocating the model. For invalid options the shapes
/// are meaningless.
NamedShapes layout_of(const Seq2SeqOptions& options);
NamedShapes layout_of(const RecurrentSeq2SeqOptions& options);
NamedShapes layout_of(const CausalLMOptions& options);
NamedShapes layout_of(const VisionTransformerOptions& options);

/// Sinusoidal tables are computed, not stored, so the weights file does not confirm their size. A
/// table of up to this many elements is accepted as config.json states it; a larger one only if the
/// weights file has as many elements. This keeps a bad config.json from allocating too much memory.
constexpr int64_t kUnprovenTable = int64_t{1} << 24;

/// Whether positions of this kind are computed instead of loaded.
bool derives_positions(PositionKind kind);

/// Throws FileError if the sinusoidal table exceeds that limit.
void check_derived_positions(const JsonFile& config, PositionKind kind, int64_t max_length,
                             int64_t embed_dim, const WeightsFile& file);

}  // namespace attend::detail
