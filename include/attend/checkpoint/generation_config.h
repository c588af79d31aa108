#pragma once

// For programs that keep models in files.

#include <filesystem>

#include "attend/decoding/beam_search.h"
#include "attend/export.h"
#include "attend/file_error.h"
#include "attend/models/incremental_model.h"

namespace attend {

/// The search options of a model folder's `generation_config.json`. Options that are not set there,
/// or all if there is no such file, are those of `otherwise`.
///
/// The keys that are read: num_beams, length_penalty, early_stopping (true, false or "never"),
/// max_length, max_new_tokens (which overrides max_length), forced_eos_token_id, renormalize_logits, and
/// the fields of TokenRules: repetition_penalty, no_repeat_ngram_size, bad_words_ids, min_length,
/// min_new_tokens (which overrides min_length), forced_bos_token_id, exponential_decay_length_penalty,
/// suppress_tokens and begin_suppress_tokens. Lists of tokens are added to those of `otherwise`. Other keys
/// are ignored, those of sampling among them. `num_beams: 1` without early_stopping and
/// transformers_version is ignored, since older versions of attend wrote it for every search.
///
/// Throws: FileError with the path if the file is broken, a value is out of its range, or
///         eos_token_id or forced_eos_token_id is anything but the model's end token.
ATTEND_API BeamSearchOptions load_search_options(const std::filesystem::path& folder,
                                                 const SpecialTokenIds& tokens,
                                                 const BeamSearchOptions& otherwise = {});

}  // namespace attend
