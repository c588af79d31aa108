#pragma once

// For programs that train.

#include <cstdint>
#include <string>
#include <vector>

#include "attend/data/encode_corpus.h"
#include "attend/models/incremental_model.h"
#include "attend/toolkit_export.h"
#include "attend/training/training_options.h"
#include "attend/translation/bleu.h"

namespace attend {

/// What a run of `Trainer` does: any loop's options, and those of a translator.
struct ATTEND_TOOLKIT_API TrainerOptions : TrainingOptions {
  int64_t batch_tokens = 4096;      // tokens of a batch on its longer side, padding counted
  PairFilter filter;                // which training pairs are left out
  int64_t shuffle_pairs = 1 << 18;  // batches are made of so many pairs at a time: all of them, or
                                    // what is in memory of a larger corpus
  double bpe_dropout = 0.0;         // [0, 1): probability of leaving out a merge of BPE; the
                                    // training pairs are cut anew in each epoch (`BpeDropout`).
                                    // 0.1 in the paper; 0: subwords stay
  double label_smoothing = 0.1;     // [0, 1)
  std::vector<std::string> valid_metrics{"cross-entropy", "bleu"};
  // cross-entropy, perplexity: of a target token, in nats; word-cross-entropy, word-perplexity: of
  // a target word (white space parts words); bleu; chrf; chrf++
  BleuTokenizer bleu_tokenizer = BleuTokenizer::k13a;  // kNone where the text is tokenized already
  int64_t valid_beam_size = 1;  // for the metrics that translate; 1 is greedy search

  /// Throws c10::ValueError for a field out of its range.
  void validate() const;
};

/// The options' filter, which also leaves out what is longer than the model can take.
ATTEND_TOOLKIT_API PairFilter filter_for(const TranslationModel& model,
                                         const TrainerOptions& options);

}  // namespace attend
