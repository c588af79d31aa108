#pragma once

// For programs that train on files of text.

#include <torch/torch.h>

#include <cstdint>
#include <vector>

#include "attend/toolkit_export.h"

namespace attend {

/// A sentence pair as token ids, each side with its end token.
struct TokenPair {
  std::vector<int64_t> source;
  std::vector<int64_t> target;
};

/// Sentence pairs as tensors, padded at the end.
struct Batch {
  torch::Tensor source;        // [B, S]
  torch::Tensor target_input;  // [B, T]: the start token, then the target without its end token
  torch::Tensor target;        // [B, T]: the tokens to predict
  int64_t source_tokens = 0;   // without padding
  int64_t target_tokens = 0;   // without padding; the number of predicted tokens
};

/// The indices of the pairs in each batch of an epoch.
using BatchPlan = std::vector<std::vector<size_t>>;

/// The batches of one epoch, the same for the same arguments on every machine. Pairs of similar
/// length are batched together, which keeps padding small; ties and the order of batches are
/// shuffled.
///
/// A batch of B pairs has at most max_tokens tokens on its longer side, padding counted. A pair
/// with more tokens gets a batch of its own.
///
/// Throws: c10::ValueError unless max_tokens > 0.
ATTEND_TOOLKIT_API BatchPlan plan_batches(const std::vector<TokenPair>& corpus, int64_t max_tokens,
                                          uint64_t seed, uint64_t epoch);

/// The same without shuffling, for validation.
ATTEND_TOOLKIT_API BatchPlan plan_batches_in_order(const std::vector<TokenPair>& corpus,
                                                   int64_t max_tokens);

/// The chosen pairs as tensors on the CPU.
ATTEND_TOOLKIT_API Batch make_batch(const std::vector<TokenPair>& corpus,
                                    const std::vector<size_t>& chosen, int64_t start_id,
                                    int64_t pad_id);

/// A hash that identifies a corpus: 64-bit FNV-1a over the ids.
ATTEND_TOOLKIT_API uint64_t fingerprint(const std::vector<TokenPair>& corpus);

}  // namespace attend
