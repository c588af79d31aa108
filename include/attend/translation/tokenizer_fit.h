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

/// Why a tokenizer does not fit a model; nullopt if it does.
///
/// The model must have every id of the source vocabulary and of encoded targets, the target's end
/// token, and the padding tokens of both sides if they have one. Its start token must not be text:
/// a special token, a language code, or an id that the tokenizer lacks. It may have more ids than
/// the tokenizer. Sizes are not compared if the model's vocabulary_sizes() are unknown.
ATTEND_TOOLKIT_API std::optional<std::string> tokenizer_mismatch(const IncrementalModel& model,
                                                                 const SubwordTokenizer& tokenizer);

/// The model's ids beyond the target's pieces, in order. They have no text, so decoding must never
/// choose them (`TokenRules::suppress_tokens`).
ATTEND_TOOLKIT_API std::vector<int64_t> spare_tokens(const IncrementalModel& model,
                                                     const SubwordTokenizer& tokenizer);

/// Loads the tokenizer of a model's folder.
///
/// Throws: FileError as SubwordTokenizer::load does, and if the tokenizer does not fit the model.
ATTEND_TOOLKIT_API SubwordTokenizer load_tokenizer_of(const IncrementalModel& model,
                                                      const std::filesystem::path& folder);

}  // namespace attend
