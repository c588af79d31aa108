#pragma once

// For programs that ask which source words a translation comes from.

#include <torch/torch.h>

#include <string>
#include <vector>

#include "attend/export.h"

namespace attend {

/// A link between a source word and a target word, 0-based.
struct WordLink {
  int64_t source;
  int64_t target;
  auto operator<=>(const WordLink&) const = default;
};

/// Converts attention between subwords to attention between words: summed over the source subwords
/// of a word, averaged over its target subwords.
///
/// Shapes: attention [T, S], word_of_target of size T, word_of_source of size S: the word index of
///         each subword, or -1 for one without a word (the end token), which is left out. ->
///         [target words, source words] on the CPU.
/// Throws: c10::Error for sizes that do not match.
ATTEND_API torch::Tensor merge_subwords(const torch::Tensor& attention,
                                        const std::vector<int64_t>& word_of_target,
                                        const std::vector<int64_t>& word_of_source);

/// Links every target word to the source word with the largest weight, sorted by source word.
/// attention: [target words, source words].
ATTEND_API std::vector<WordLink> hard_alignment(const torch::Tensor& attention);

/// "0-0 1-2", source-target: the format of Pharaoh, Moses and Marian.
ATTEND_API std::string pharaoh(const std::vector<WordLink>& links);

}  // namespace attend
