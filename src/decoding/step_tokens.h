#pragma once

#include <torch/torch.h>

#include <vector>

#include "attend/decoding/token_rules.h"
#include "attend/models/incremental_model.h"

namespace attend::detail {

/// The ids that decoding never chooses, each once, as a tensor on `device`: suppress_tokens, and pad_id,
/// start_id and bad words of one token where they are not the end token. Ids >= vocab are left out: a
/// model may have input tokens that it never predicts.
torch::Tensor never_chosen(const SpecialTokenIds& special, const TokenRules& rules, int64_t vocab,
                           torch::Device device);

/// The logits [N, vocab] of a step, -infinity for ids that it has no logit of.
torch::Tensor logits_of_all(const StepOutput& output, int64_t vocab);

/// Sets the logits [N, V] of `ids` to -infinity.
void forbid(torch::Tensor& logits, const torch::Tensor& ids);

/// A step's tokens as BestTokens, copied from the device at once. log_probabilities: [N, C] float32;
/// tokens: [N, C] ids below 2^31.
BestTokens copied_tokens(const torch::Tensor& log_probabilities, const torch::Tensor& tokens);

/// What is requested of a step's logits. Those of excluded ids become -infinity. excluded: below V, on
/// the logits' device.
BestTokens best_tokens(const StepOutput& output, const BestTokensRequest& request);

}  // namespace attend::detail
