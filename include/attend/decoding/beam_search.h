#pragma once

#include <torch/torch.h>

#include <functional>
#include <vector>

#include "attend/export.h"
#include "attend/models/incremental_model.h"

namespace attend {

/// One finished sequence.
struct Hypothesis {
  std::vector<int64_t> tokens;  // without the start and end tokens
  double log_probability = 0;   // sum over the tokens and the end token, in nats
  double score = 0;             // log_probability / length^length_penalty; what is ranked
  torch::Tensor attention;      // [tokens + 1, S] on the CPU, if requested: row i predicts token i,
                                // the last one the end token
};

/// A continuation that a step of the search looked at.
struct BeamCandidate {
  enum Fate {
    kKept,      // one of the hypotheses that the next step continues
    kFinished,  // ended, one of the results
    kDropped,
  };
  size_t parent = 0;  // the hypothesis it continues: its index among those kept by the step
                      // before, in their order
  int64_t token = 0;  // the token added
  double log_probability = 0;  // of all tokens so far, in nats
  Fate fate = kDropped;
};

/// What one step did with one sentence.
struct BeamStep {
  size_t sentence = 0;                         // index in the batch
  size_t step = 0;                             // from 0
  std::vector<BeamCandidate> candidates = {};  // best first
};

/// How to search.
struct BeamSearchOptions {
  int64_t beam_size = 1;           // hypotheses kept; 1 is greedy search
  int64_t n_best = 1;              // returned for each sentence; at most beam_size
  double length_penalty = 1.0;     // 0: plain sum, 1: mean over tokens; Wu et al., 2016, section 7
  double max_length_factor = 3.0;  // tokens allowed for each source token...
  int64_t max_length_extra = 10;   // ...and beyond that
  bool attention = false;          // record the attention to the source
  std::vector<int64_t> suppressed_tokens = {};  // ids in [0, V) that are never chosen
  std::function<void(const BeamStep&)> on_step =
      {};  // told of every step, for who wants to look on
};

/// Beam search over a batch, the N best hypotheses of each sentence, best first.
///
/// Every step keeps the beam_size best unfinished continuations; a sentence is done when beam_size
/// hypotheses have ended, and leaves the batch. At the length limit the end token is forced. The
/// pad and start tokens, and those in `suppressed_tokens`, are never chosen. With beam_size 1 this is greedy search.
///
/// Source: Graves, 2012, arXiv:1211.3711; the length penalty divides by length^alpha, the end token
///         counted, as in Marian and fairseq.
/// Shapes: source [B, S] ids, padded at the end; source_mask as for IncrementalModel::start.
/// Throws: c10::ValueError for options, c10::Error for shapes.
ATTEND_API std::vector<std::vector<Hypothesis>> beam_search(IncrementalModel& model,
                                                            const torch::Tensor& source,
                                                            const BeamSearchOptions& options = {},
                                                            const AttentionMask& source_mask = {});

}  // namespace attend
