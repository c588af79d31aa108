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

/// Which pairs are left out of training. Lengths are in tokens, `</s>` not counted.
struct ATTEND_TOOLKIT_API PairFilter {
  int64_t max_length = 200;  // longest side; > 0
  double max_ratio = 9.0;    // longer side over the shorter one, >= 1; 0: any. 9 is what Moses'
                             // clean-corpus-n leaves: Koehn et al., 2007

  /// Throws c10::ValueError for a field out of its range.
  void validate() const;
};

/// What became of the pairs of a corpus.
struct ATTEND_TOOLKIT_API FilterCounts {
  int64_t kept = 0;
  int64_t empty = 0;     // a side without text
  int64_t too_long = 0;  // a side above max_length
  int64_t unequal = 0;   // above max_ratio

  int64_t left_out() const { return empty + too_long + unequal; }
  /// "left out 3 empty pairs, 2 of more than 200 tokens and 1 with sides of more than 9 to 1"; empty
  /// where nothing was.
  std::string left_out_text(const PairFilter& filter) const;
};

/// Counts the pair, and says whether it is kept.
ATTEND_TOOLKIT_API bool keep_pair(const TokenPair& pair, const PairFilter& filter,
                                  FilterCounts& counts);

/// The pairs of a text as token ids, without those that the filter leaves out.
ATTEND_TOOLKIT_API std::vector<TokenPair> encode_pairs(const ParallelText& text,
                                                       const SubwordTokenizer& tokenizer,
                                                       const PairFilter& filter,
                                                       FilterCounts& counts);

/// A corpus on the disk, and what was left out of it.
struct EncodedCorpus {
  TokenFile file;
  FilterCounts counts;
};

/// Called with the number of pairs read so far; returns false to stop.
using EncodingProgress = std::function<bool(int64_t pairs)>;

/// Encodes two aligned text files into a TokenFile, however large they are: on all of LibTorch's
/// threads, with a few thousand pairs in memory at a time.
///
/// An existing file at `path` is reused where it was made of the same texts (by name, size and
/// time) with the same filter and vocabulary. A text may be a pipe; it is read once per call.
///
/// Throws: FileError as `read_parallel` does; c10::Error where `progress` stops it. There is no new
///         file then, and what was at `path` stays.
ATTEND_TOOLKIT_API EncodedCorpus encode_corpus(const std::filesystem::path& source_path,
                                               const std::filesystem::path& target_path,
                                               const SubwordTokenizer& tokenizer,
                                               const std::filesystem::path& path,
                                               const PairFilter& filter = {},
                                               const EncodingProgress& progress = {});

}  // namespace attend
