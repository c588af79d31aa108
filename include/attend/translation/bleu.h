#pragma once

// For programs that translate and score translations.

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "attend/toolkit_export.h"

namespace attend {

/// How BLEU splits a line into tokens, under sacreBLEU's names.
enum class BleuTokenizer {
  kNone,  // only at white space, for text that is already tokenized
  k13a,   // as mteval-v13a does, the choice of WMT
  kIntl,  // as mteval-v14 does: every punctuation mark and symbol of Unicode
  kChar,  // every character
};

/// How precisions without matches are smoothed (Chen and Cherry, 2014, W14-3346).
enum class BleuSmoothing {
  kNone,   // not at all: the score is zero
  kFloor,  // a constant number of matches
  kAddK,   // a constant added to matches and n-grams from order 2 on
  kExp,    // 1/2, 1/4, ... of a match, for one such precision after another
};

struct ATTEND_TOOLKIT_API BleuOptions {
  BleuTokenizer tokenizer = BleuTokenizer::k13a;
  bool lowercase = false;  // compare without regard to case
  BleuSmoothing smoothing = BleuSmoothing::kExp;
  // > 0, for kFloor (0.1 if not set) and kAddK (1 if not set) alone
  std::optional<double> smoothing_value = std::nullopt;
};

struct ATTEND_TOOLKIT_API BleuScore {
  double score = 0.0;                  // [0, 100]
  std::array<double, 4> precisions{};  // of 1-grams to 4-grams, smoothed, [0, 100]
  double brevity_penalty = 1.0;        // [0, 1]
  int64_t sys_len = 0;                 // tokens of all hypotheses
  int64_t ref_len = 0;                 // tokens of all references
  double ratio = 0.0;                  // sys_len / ref_len; 0 where no reference has a token
};

/// BLEU of a corpus with one reference for each hypothesis, as sacreBLEU computes it.
///
///   BLEU = BP * exp(1/4 sum_n log p_n),   BP = min(1, exp(1 - ref_len / sys_len))
///
/// Source: Papineni et al., 2002, P02-1040; Post, 2018, arXiv:1804.08771; sacreBLEU 2.6.0.
/// Throws: c10::ValueError for no lines, different numbers of lines, text that is not UTF-8, or a
///         smoothing_value without a smoothing that uses it.
/// Note:   lines are sentences without line ends. Unlike sacreBLEU, never warns about tokenized
///         text.
ATTEND_TOOLKIT_API BleuScore corpus_bleu(const std::vector<std::string>& hypotheses,
                                         const std::vector<std::string>& references,
                                         const BleuOptions& options = {});

/// The signature of a score, in sacreBLEU's format:
/// `nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:attend-0.1.0`.
ATTEND_TOOLKIT_API std::string bleu_signature(const BleuOptions& options = {});

}  // namespace attend
