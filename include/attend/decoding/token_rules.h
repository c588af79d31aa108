#pragma once

// For programs that write text with a model.

#include <cstdint>
#include <optional>
#include <vector>

#include "attend/export.h"

namespace attend {

/// An end token that becomes likelier with every token after the first `start` new ones.
struct LengthDecay {
  int64_t start = 0;    // new tokens; at least 0
  double factor = 1.0;  // above 0; > 1 shortens
};

/// Rules about the tokens that decoding may choose, for beam search and sampling. Fields have the names and
/// the meaning of Hugging Face's generation options. They look at a sequence's own tokens: those that were
/// fed first (the start token and a given prefix, or the prompt without padding) and those that were chosen
/// since, the new ones. A length counts both.
///
/// Source: `generate` in Hugging Face transformers 5.23, which applies the rules in the order of the fields.
struct ATTEND_API TokenRules {
  // Divides positive scores of tokens that the sequence has already, and multiplies negative ones; > 1
  // discourages repetition. Scores are log-probabilities with a beam, logits in greedy search and sampling.
  // Keskar et al., 2019, arXiv:1909.05858, section 4.1.
  double repetition_penalty = 1.0;
  int64_t no_repeat_ngram_size = 0;  // no n tokens in a row appear twice; 0: off
  // Sequences that are never written, each of a token or more. The end token alone is none of them.
  std::vector<std::vector<int64_t>> bad_words_ids = {};
  int64_t min_length = 0;  // the end token is not chosen in shorter sequences
  std::optional<int64_t> min_new_tokens =
      {};  // the same for new tokens; then min_length is ignored
  // The first token after a single one, such as the target's language; counted as certain.
  std::optional<int64_t> forced_bos_token_id = {};
  // Adds |score| (factor^n - 1) to the end token's score, n new tokens after `start`.
  std::optional<LengthDecay> exponential_decay_length_penalty = {};
  std::vector<int64_t> suppress_tokens = {};        // never chosen; none that is forced
  std::vector<int64_t> begin_suppress_tokens = {};  // never the first token chosen freely

  /// Throws c10::ValueError for a field out of its range, with `who` at the message's beginning.
  void validate(const char* who) const;
};

}  // namespace attend
