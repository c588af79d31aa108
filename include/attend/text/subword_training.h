#pragma once

// For programs that turn text into tokens and back.

#include <cstdint>
#include <string>
#include <vector>

#include "attend/text/subword_tokenizer.h"
#include "attend/toolkit_export.h"

namespace attend {

/// How subwords are chosen.
enum class SubwordModel {
  kUnigram,  // by a unigram language model: Kudo, 2018, arXiv:1804.10959
  kBpe,      // by merging the most frequent pair: Sennrich et al., 2016, arXiv:1508.07909
};

/// How a text is normalised before it is segmented. The names are SentencePiece's.
enum class Normalization {
  kNmtNfkc,          // NFKC, and what translation needs: control characters, kinds of spaces
  kNmtNfkcCaseFold,  // that and lower case
  kNfkc,             // NFKC alone
  kIdentity,         // nothing but the handling of spaces
};

struct SubwordTrainingOptions {
  SubwordModel model = SubwordModel::kUnigram;
  int64_t vocab_size = 8000;        // ids in all: pieces, </s>, <unk> and <pad>; at most 10^7
  bool shrink_to_fit = true;        // a smaller vocabulary where the text supports no larger one;
                                    // false = an error that names the largest possible size
  double character_coverage = 1.0;  // share of the characters that become pieces, the rarest left
                                    // out, [0.98, 1]; SentencePiece's advice: 1 for small
                                    // alphabets, 0.9995 for Chinese or Japanese
  bool split_by_unicode_script = true;  // a piece holds letters or punctuation, not both, so that
                                        // "word." is never one; false for text that is tokenized
                                        // already, whose "d&apos;" would be four pieces
  Normalization normalization = Normalization::kNmtNfkc;
  int64_t max_sentence_length =
      4192;  // bytes; longer sentences are left out of the training; [10, 2^30]
  SubwordTokenizerOptions tokenizer = {};  // what the tokenizer's folder says
};

/// Trains one SentencePiece model for both languages.
///
/// `sentences` holds both sides of the corpus. The ids are Marian's: `</s>` 0, `<unk>` 1, then the
/// pieces, `<pad>` last. The result depends on the sentences and options alone: not on a seed, the
/// machine or its number of cores.
///
/// Throws: c10::ValueError where an option is out of range, a sentence is not UTF-8, the sentences
///         hold no text, a word of one has more than 32,768 characters in BPE training, or
///         vocab_size is smaller than the characters need, or, without shrink_to_fit, larger than
///         the text supports; the last two name both sizes.
ATTEND_TOOLKIT_API SubwordTokenizer train_subwords(const std::vector<std::string>& sentences,
                                                   const SubwordTrainingOptions& options = {});

}  // namespace attend
