#pragma once

// For programs that turn text into tokens and back.

#include <cstdint>
#include <memory>
#include <random>
#include <vector>

#include "attend/text/subword_tokenizer.h"
#include "attend/toolkit_export.h"

namespace attend {

/// BPE-dropout: segments a text into different subwords each time, so that a model sees parts of
/// words and rare subwords more often.
///
/// Byte-pair encoding merges adjacent subwords, the earliest learned pair first. Here each merge is
/// skipped with the given probability: 0 gives the tokenizer's own subwords, near 1 single
/// characters. The text stays the same. If a vocabulary has only the pieces of one side's text
/// (`with_separate_vocabs`, `with_restricted_vocab`), other pieces are split further.
///
/// The object is immutable: copies share their state, and any number of threads may use it. The
/// same state of `random` gives the same subwords on every machine, unlike SentencePiece's
/// `SampleEncode`.
///
/// Source: Provilkov et al., 2020, arXiv:1910.13267, section 3.2. As in SentencePiece, a skipped
///         merge is not tried again; in the paper it is, after the next merge.
class ATTEND_TOOLKIT_API BpeDropout {
 public:
  /// Throws: c10::ValueError unless 0 <= probability < 1, or for a model that is not BPE.
  BpeDropout(const SubwordTokenizer& tokenizer, double probability);

  /// Resegments the text of `ids`, which must come from `encode_source` or `encode_target`. Special
  /// tokens, language codes, bytes and pieces that are not the merge of two others are unchanged.
  ///
  /// Throws: c10::ValueError for an id outside the vocabulary.
  std::vector<int64_t> sample_source(const std::vector<int64_t>& ids,
                                     std::mt19937_64& random) const;
  std::vector<int64_t> sample_target(const std::vector<int64_t>& ids,
                                     std::mt19937_64& random) const;

 private:
  struct Impl;
  std::shared_ptr<const Impl> impl_;
};

}  // namespace attend
