#pragma once

// For programs that translate and score translations.

#include <cstdint>
#include <string>
#include <vector>

#include "attend/toolkit_export.h"

namespace attend {

struct ATTEND_TOOLKIT_API ChrfOptions {
  int64_t char_order = 6;  // longest n-gram of characters, > 0
  int64_t word_order = 0;  // longest n-gram of words, >= 0; 2 is chrF++
  int64_t beta = 2;        // weight of recall against precision, > 0
  bool lowercase = false;  // compare without regard to case
};

struct ATTEND_TOOLKIT_API ChrfScore {
  double score = 0.0;  // [0, 100]
};

/// chrF of a corpus with one reference for each hypothesis, as sacreBLEU computes it; chrF++ with
/// `{.word_order = 2}`.
///
///   chrF = 100 (1 + beta^2) P R / (beta^2 P + R)
///
/// P and R are the means of the corpus's n-gram precisions and recalls, over the orders of
/// character n-grams (without white space) and word n-grams that occur on both sides.
///
/// Source: Popovic, 2015, W15-3049; Popovic, 2017, W17-4770; sacreBLEU 2.6.0.
/// Throws: c10::ValueError for no lines, unequal numbers of lines, text that is not UTF-8 or an
///         option out of range.
ATTEND_TOOLKIT_API ChrfScore corpus_chrf(const std::vector<std::string>& hypotheses,
                                         const std::vector<std::string>& references,
                                         const ChrfOptions& options = {});

/// The signature of a score, in sacreBLEU's format:
/// `nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:attend-0.1.0`.
ATTEND_TOOLKIT_API std::string chrf_signature(const ChrfOptions& options = {});

}  // namespace attend
