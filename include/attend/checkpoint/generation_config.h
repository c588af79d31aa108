#pragma once

// For programs that keep models in files.

#include <filesystem>

#include "attend/decoding/beam_search.h"
#include "attend/export.h"
#include "attend/file_error.h"
#include "attend/models/incremental_model.h"

namespace attend {

/// The search options of a model folder's `generation_config.json`. What it does not set, or where
/// there is no such file: those of `otherwise`.
///
/// Read are num_beams, length_penalty, early_stopping (true, false or "never"), max_length,
/// max_new_tokens (which replaces max_length), forced_eos_token_id, bad_words_ids of one token each
/// and renormalize_logits. Other keys are not: sampling and penalties of repetition are not part of
/// beam search here. `num_beams: 1` without early_stopping and transformers_version is ignored:
/// attend used to write it whatever the search was.
///
/// Throws: FileError with the path if the file is broken, a value is out of its range, or
///         eos_token_id or forced_eos_token_id is anything but the model's end token.
ATTEND_API BeamSearchOptions load_search_options(const std::filesystem::path& folder,
                                                 const SpecialTokenIds& tokens,
                                                 const BeamSearchOptions& otherwise = {});

}  // namespace attend
