#pragma once

// For programs that choose the target tokens a sentence may be translated to.

#include <cstdint>
#include <filesystem>
#include <vector>

#include "attend/data/token_file.h"
#include "attend/inference/prepared_model.h"
#include "attend/text/subword_tokenizer.h"
#include "attend/toolkit_export.h"

namespace attend {

/// A target token and its probability.
struct LexiconEntry {
  int64_t token = 0;
  double probability = 0;
};

/// Which target tokens a source token is translated to: p(target token | source token).
struct Lexicon {
  std::vector<std::vector<LexiconEntry>> of_source;  // of each source id, most probable first
  std::vector<LexiconEntry> of_none;  // of target tokens that no source token accounts for (NULL)
};

/// Options for `learn_lexicon`.
struct ATTEND_TOOLKIT_API LexiconOptions {
  int64_t iterations = 5;  // of expectation maximisation; >= 1
  int64_t max_pairs =
      1'000'000;       // pairs to learn from, in blocks spread evenly over the corpus; >= 1
  int64_t best = 100;  // most entries of a source token; >= 1
  double min_probability = 1e-4;  // less probable entries are left out; [0, 1)

  /// Throws c10::ValueError for a field out of its range.
  void validate() const;
};

/// Learns a lexicon from sentence pairs by IBM Model 1: each target token comes from one of the
/// source tokens, or from none (NULL), with equal prior probability.
///
///   p(t | s) is proportional to the sum over pairs and positions of
///     p(t | s) / (p(t | NULL) + sum of p(t | s') over the tokens s' of the pair's source),
///   which starts from a uniform p.
///
/// On all of LibTorch's threads, with the same result for any number of them. Memory: at most 12 bytes
/// for each source token read, 8 for each target token, and 8 KB for each source id: after the first
/// iteration an id keeps its 1,000 most probable target tokens.
///
/// Source: Brown et al., 1993, "The Mathematics of Statistical Machine Translation", section 4.1 and
///         equations 13 to 17.
/// Throws: c10::ValueError for options; FileError as TokenFile::read.
/// Note:   end tokens are left out. Fertility, order and agreement of both directions, of which word
///         aligners know, matter less to a list of candidates.
ATTEND_TOOLKIT_API Lexicon learn_lexicon(const TokenFile& corpus,
                                         const LexiconOptions& options = {});

/// The name of a lexicon in a model folder.
inline constexpr auto kLexiconFile = "lex.s2t";

/// Writes a lexicon atomically as text, a line for each entry: target token, source token (NULL for
/// none) and probability, separated by spaces. It is the format of Moses and fast_align's
/// extract_lex, which Marian reads. Tokens are the tokenizer's pieces; those with whitespace, and one
/// that is spelled NULL, are left out.
///
/// Throws: FileError; c10::ValueError for an id that the tokenizer does not have.
ATTEND_TOOLKIT_API void save_lexicon(const std::filesystem::path& path, const Lexicon& lexicon,
                                     const SubwordTokenizer& tokenizer);

/// Reads that format. Lines with tokens that the tokenizer does not have are left out: word aligners
/// see unknown characters too.
///
/// Throws: FileError with the line's number for a line of another form, a probability outside [0, 1], more
///         than 50 million lines, and if more than half of the lines have unknown tokens.
ATTEND_TOOLKIT_API Lexicon load_lexicon(const std::filesystem::path& path,
                                        const SubwordTokenizer& tokenizer);

/// How many target tokens a shortlist has.
struct ATTEND_TOOLKIT_API ShortlistOptions {
  std::filesystem::path file = {};  // a lexicon; empty: lex.s2t in the model's folder
  int64_t frequent = 100;           // tokens that every sentence has; >= 0
  int64_t best = 100;               // tokens for each token of the source; >= 0

  /// Throws c10::ValueError for a field out of its range.
  void validate() const;
};

/// The shortlist of a lexicon. A source gets: the `frequent` most probable tokens without a source
/// token (if the lexicon has fewer of these, the first ids of the target's vocabulary as well); for
/// each of its tokens the `best` most probable ones, and the one that is spelled the same; the unknown
/// token is not among them.
///
/// Source: Jean et al., 2015, arXiv:1412.2007, section 3.3; Devlin, 2017, arXiv:1705.01991, section on
///         vocabulary selection. Marian's `--shortlist FILE first best` is the same but for NULL, of
///         which it takes no notice: there the first tokens are the vocabulary's first ids.
/// Throws: c10::ValueError for options.
ATTEND_TOOLKIT_API TargetShortlist target_shortlist(const Lexicon& lexicon,
                                                    const SubwordTokenizer& tokenizer,
                                                    const ShortlistOptions& options = {});

}  // namespace attend
