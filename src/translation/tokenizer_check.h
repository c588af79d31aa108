#pragma once

#include <filesystem>

#include "attend/file_error.h"
#include "attend/translation/tokenizer_fit.h"

namespace attend::detail {

/// Throws: FileError that names `folder`, where both were read, if the tokenizer does not fit the model.
inline void check_tokenizer(const IncrementalModel& model, const SubwordTokenizer& tokenizer,
                            const std::filesystem::path& folder) {
  if (const auto why = tokenizer_mismatch(model, tokenizer)) throw FileError(folder, *why);
}

}  // namespace attend::detail
