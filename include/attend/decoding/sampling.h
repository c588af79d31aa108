#pragma once

// For programs that write text with a model.

#include <torch/torch.h>

#include <optional>
#include <vector>

#include "attend/decoding/token_rules.h"
#include "attend/export.h"
#include "attend/models/incremental_model.h"

namespace attend {

/// Options for `sample`.
struct SamplingOptions {
  double temperature = 1.0;  // divides the logits; > 0, finite; below 1 the distribution is sharper
  int64_t top_k = 0;         // only the k likeliest; 0: all. Fan et al., 2018, arXiv:1805.04833
  double top_p = 1.0;        // only the fewest with this total probability, (0, 1]; after
                             // top_k. Holtzman et al., 2020, arXiv:1904.09751, section 3.1
  int64_t max_new_tokens = 100;  // end token included; limited by the model's positions
  TokenRules rules = {};         // beside them, the pad and start tokens are never drawn; penalties
                                 // are of logits, before the temperature

  /// Throws c10::ValueError for a field out of its range.
  void validate() const;
};

/// A sampled sequence.
struct SampledSequence {
  std::vector<int64_t> tokens;  // without the prompt and the end token
  double log_probability = 0;  // of the tokens and the end token under the model itself, in nats; a
                               // forced token counts as certain
  bool ended = false;          // by the end token, not by the limit
};

/// The logits divided by the temperature, with tokens that `options` exclude at -infinity.
/// Shapes: logits [..., V] -> the same. The likeliest token always stays.
/// Throws: c10::ValueError for options.
ATTEND_API torch::Tensor filtered_logits(const torch::Tensor& logits,
                                         const SamplingOptions& options);

/// Samples a continuation of each prompt, token by token. Never chosen are the pad token, the start
/// token unless it also ends a text, and what the rules forbid. Finished sequences leave the batch.
///
/// Shapes: prompt [B, P] ids -> B sequences. For several samples of a prompt, repeat its row.
///         prompt_mask as for IncrementalModel::start: describes the padding if prompts differ in
///         length.
/// Throws: c10::ValueError for options, and if the prompt leaves no room for tokens; c10::Error for
///         shapes and for logits that are NaN.
/// Note:   the default generator is that of the logits' device (torch::manual_seed). On a GPU, each
///         step reads one small tensor back, and uploads one when a sequence has ended.
ATTEND_API std::vector<SampledSequence> sample(
    IncrementalModel& model, const torch::Tensor& prompt, const SamplingOptions& options = {},
    const std::optional<torch::Generator>& generator = std::nullopt,
    const AttentionMask& prompt_mask = {});

}  // namespace attend
