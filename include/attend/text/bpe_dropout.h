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
/// A byte-pair encoding merges neighbouring subwords, the earliest learned pair first. Here each
/// merge is left out with the given probability: 0 gives the tokenizer's own subwords, near 1
/// single characters. The text stays the same. Where a vocabulary holds only the pieces of one
/// side's text (`with_separate_vocabs`, `with_restricted_vocab`), other pieces are split further.
///
/// The object is immutable: copies share their state, and any number of threads may use it. The same
/// state of `random` gives the same subwords on every machine, which SentencePiece's own
/// `SampleEncode` cannot promise.
///
/// Source: Provilkov et al., 2020, arXiv:1910.13267, section 3.2; as SentencePiece does it, which
///         leaves a merge out for good where the paper offers it again after the next one.
class ATTEND_TOOLKIT_API BpeDropout {
 public:
  /// Throws: c10::ValueError unless 0 <= probability < 1, or for a model that is not BPE.
  BpeDropout(const SubwordTokenizer& tokenizer, double probability);

  /// Other subwords for the text of `ids`, which `encode_source` or `encode_target` made. Special
  /// tokens, language codes, bytes and pieces that are no merge of two others stay as they are.
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
