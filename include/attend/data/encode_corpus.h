#pragma once

// For programs that train on files of text.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "attend/data/batches.h"
#include "attend/data/parallel_text.h"
#include "attend/data/token_file.h"
#include "attend/text/subword_tokenizer.h"
#include "attend/toolkit_export.h"

namespace attend {

/// Limits for training pairs. Lengths are in tokens without `</s>`.
struct ATTEND_TOOLKIT_API PairFilter {
  int64_t max_length = 200;  // longest side; > 0
  double max_ratio = 9.0;    // longer side over the shorter one, >= 1; 0: any. 9 is what Moses'
                             // clean-corpus-n leaves: Koehn et al., 2007

  /// Throws c10::ValueError for a field out of its range.
  void validate() const;
};

/// How many pairs of a corpus were kept and left out.
struct ATTEND_TOOLKIT_API FilterCounts {
  int64_t kept = 0;
  int64_t empty = 0;     // pairs with an empty side
  int64_t too_long = 0;  // pairs above max_length
  int64_t unequal = 0;   // pairs above max_ratio

  int64_t left_out() const { return empty + too_long + unequal; }
  /// Such as "left out 3 empty pairs, 2 of more than 200 tokens and 1 with sides of more than 9 to
  /// 1"; empty if no pair was left out.
  std::string left_out_text(const PairFilter& filter) const;
};

/// Counts the pair in `counts`. Returns whether it is kept.
ATTEND_TOOLKIT_API bool keep_pair(const TokenPair& pair, const PairFilter& filter,
                                  FilterCounts& counts);

/// Encodes a parallel text, without the pairs that the filter leaves out.
ATTEND_TOOLKIT_API std::vector<TokenPair> encode_pairs(const ParallelText& text,
                                                       const SubwordTokenizer& tokenizer,
                                                       const PairFilter& filter,
                                                       FilterCounts& counts);

/// An encoded corpus on disk, and the counts of its pairs.
struct EncodedCorpus {
  TokenFile file;
  FilterCounts counts;
};

/// Called with the number of pairs read so far; returns false to stop.
using EncodingProgress = std::function<bool(int64_t pairs)>;

/// Encodes two aligned text files of any size into a TokenFile, on all of LibTorch's threads, with
/// a few thousand pairs in memory at a time.
///
/// An existing file at `path` is reused if it was made from the same texts (path, size and time)
/// with the same filter and vocabulary. A text may be a pipe; each call reads it once.
///
/// Throws: FileError as `read_parallel` does; c10::Error if `progress` stops it. Then no new file
///         is written, and an existing one at `path` is kept.
ATTEND_TOOLKIT_API EncodedCorpus encode_corpus(const std::filesystem::path& source_path,
                                               const std::filesystem::path& target_path,
                                               const SubwordTokenizer& tokenizer,
                                               const std::filesystem::path& path,
                                               const PairFilter& filter = {},
                                               const EncodingProgress& progress = {});

}  // namespace attend
