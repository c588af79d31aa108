#pragma once

// For programs that write text with a model.

#include <torch/torch.h>

#include <functional>
#include <optional>
#include <vector>

#include "attend/decoding/token_rules.h"
#include "attend/export.h"
#include "attend/models/incremental_model.h"

namespace attend {

/// One sequence that the search found.
struct Hypothesis {
  std::vector<int64_t> tokens;  // without the start and end tokens; a given prefix included
  double log_probability = 0;   // sum over the tokens and the end token, in nats; what is given or
                                // forced counts as certain, and penalties of the rules count; NaN
                                // without `scores`
  double score = 0;             // log_probability / length^length_penalty; what is ranked
  bool ended = true;            // by the end token, not by the limit
  torch::Tensor attention;  // [tokens, S] on the CPU, if requested: row i predicts token i; with
                            // a last row for the end token if it ended
};

/// A continuation that a step of the search considered.
struct BeamCandidate {
  enum Fate {
    kKept,      // one of the hypotheses that the next step continues
    kFinished,  // ended or at the limit, and among the beam_size best of these so far
    kDropped,
  };
  size_t parent = 0;  // the hypothesis it continues: its index among those kept by the step
                      // before, in their order
  int64_t token = 0;  // the token added
  double log_probability = 0;  // of all tokens so far, in nats
  Fate fate = kDropped;
};

/// The candidates of one sentence in one step.
struct BeamStep {
  size_t sentence = 0;                         // index in the batch
  size_t step = 0;                             // from 0
  std::vector<BeamCandidate> candidates = {};  // best first
};

/// When a search with beam_size finished hypotheses ends: Hugging Face's `early_stopping`.
enum class EarlyStopping {
  kFalse,  // when the best unfinished one, scored by its length so far, is no better than the worst
           // finished one
  kTrue,   // immediately
  kNever,  // when no unfinished one could become better by the limit: with length_penalty > 0 the
           // best is scored as if it were that long already
};

/// Options for `beam_search`.
struct ATTEND_API BeamSearchOptions {
  int64_t beam_size = 1;        // hypotheses kept; 1 is greedy search
  int64_t n_best = 1;           // returned for each sentence; at most beam_size
  double length_penalty = 1.0;  // 0: plain sum, 1: mean over tokens; Wu et al., 2016, section 7
  EarlyStopping early_stopping = EarlyStopping::kFalse;  // without effect on greedy search

  // A sentence's limit is the smallest of these and the model's positions.
  double max_length_factor = 3.0;          // tokens allowed for each source token; may be infinite
  int64_t max_length_extra = 10;           // tokens allowed in addition
  std::optional<int64_t> max_length = {};  // including tokens fed first: the start token and the
                                           // prefix, or the prompt
  std::optional<int64_t> max_new_tokens = {};  // excluding those

  bool forced_eos = false;  // the last token that the limit allows is the end token, counted as
                            // certain; otherwise a hypothesis may be unfinished there
  TokenRules rules = {};    // beside them, the pad and start tokens are never chosen
  bool renormalize_logits = false;  // softmax over allowed tokens only, not over all
  bool attention = false;           // record the attention to the source
  bool scores = true;  // false: greedy search looks for the largest logit alone, which is
                       // faster, and tells no log-probability; without effect on a beam
  std::function<void(const BeamStep&)> on_step =
      {};  // called after every step, to observe the search; with it there are scores

  /// Throws c10::ValueError for a field out of its range.
  void validate() const;
};

/// Beam search over a batch, the N best hypotheses of each sentence, best first.
///
/// Each step considers the continuations of a sentence's hypotheses, best first. The beam_size best
/// that do not end are continued. Those that end are finished if they are among the beam_size best
/// candidates; the beam_size finished ones with the best scores are kept. A sentence is done when
/// early_stopping says so, or at the limit, where unfinished hypotheses count as finished. The pad
/// and start tokens are never chosen. With beam_size 1 this is greedy search, which stops at the
/// end token.
///
/// A sentence with a prefix begins with its tokens (`decoder_input_ids` of Hugging Face, without the start
/// token; CTranslate2's target prefix). Prefixes of a batch may differ in length.
///
/// Source: Graves, 2012, arXiv:1211.3711; rules, scores and option names are those of `generate` in
///         Hugging Face transformers 5.23. The length includes the end token, but not the tokens
///         fed first.
/// Shapes: source [B, S] ids, padded at the end; source_mask as for IncrementalModel::start; prefixes:
///         none, or B of any lengths.
/// Throws: c10::ValueError for options, and for prefixes that hold the end token or leave no room;
///         c10::Error for shapes and for logits that are NaN.
/// Note:   unlike this function, `generate` has no limit relative to the source's length, and
///         excludes the pad and start tokens only if bad_words_ids contain them. With a GPU, each
///         step copies one small tensor in each direction; rules that look at tokens copy up to four
///         more to it.
ATTEND_API std::vector<std::vector<Hypothesis>> beam_search(
    IncrementalModel& model, const torch::Tensor& source, const BeamSearchOptions& options = {},
    const AttentionMask& source_mask = {}, const std::vector<std::vector<int64_t>>& prefixes = {});

}  // namespace attend
