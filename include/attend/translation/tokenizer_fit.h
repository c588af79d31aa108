#pragma once

// For programs that translate and score translations.

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "attend/models/incremental_model.h"
#include "attend/text/subword_tokenizer.h"
#include "attend/toolkit_export.h"

namespace attend {

/// Why a tokenizer does not fit a model; none where it does.
///
/// The model must know every id of the source vocabulary and every id of an encoded target, end with
/// the target's end token, have the padding of both sides, where it has one, and start from a token
/// that is no text: special, a language code, or unknown to the tokenizer. It may know more ids than
/// the tokenizer. Sizes are not compared for a model whose vocabulary_sizes() are unknown.
ATTEND_TOOLKIT_API std::optional<std::string> tokenizer_mismatch(const IncrementalModel& model,
                                                                 const SubwordTokenizer& tokenizer);

/// The ids that a model knows beyond the target's pieces, in order. They stand for no text, so
/// decoding must never choose them (`BeamSearchOptions::bad_words_ids`).
ATTEND_TOOLKIT_API std::vector<int64_t> spare_tokens(const IncrementalModel& model,
                                                     const SubwordTokenizer& tokenizer);

/// The tokenizer of a model's folder.
///
/// Throws: FileError as SubwordTokenizer::load does, and for one that is not the model's.
ATTEND_TOOLKIT_API SubwordTokenizer load_tokenizer_of(const IncrementalModel& model,
                                                      const std::filesystem::path& folder);

}  // namespace attend
