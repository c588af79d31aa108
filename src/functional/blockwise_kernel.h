#pragma once

#include <torch/torch.h>

#include "attend/functional/weights_request.h"
#include "functional/lowered_mask.h"
#include "kernels/cpu/attention.h"

namespace attend::functional {

/// The tensors of one attention on the CPU, all of one dtype, float32, float64 or bfloat16; rows are
/// contiguous (`with_contiguous_rows`). Of bfloat16, all else is float32: masks, sums, sinks, weights.
struct BlockwiseTensors {
  torch::Tensor query, key, value;
  torch::Tensor sinks = {};  // undefined, or [H]
};

/// What it consists of beside them.
struct BlockwiseParameters {
  LoweredMask mask;
  double scale, soft_cap;
  kernels::AttentionDropout dropout;
};

/// Which weights a request names: of heads and queries each once, in ascending order.
struct ChosenWeights {
  bool are_wanted = false;
  int64_t heads = 0, queries = 0;                // how many; heads: 1 of a mean
  torch::Tensor head_places, query_places = {};  // int64 [H], [T] as kernels::WeightsView has them
  torch::Tensor shares = {};                     // of a mean: [H], of the dtype of the weights

  bool is_mean() const { return shares.defined(); }
};
ChosenWeights chosen_weights(const WeightsRequest& request, int64_t heads, int64_t target,
                             torch::ScalarType type);

/// As memory that holds the numbers themselves, also where they are to be negated when they are
/// read.
torch::Tensor with_contiguous_rows(const torch::Tensor& x);

/// The same of a mask, which may be broadcast along its rows.
torch::Tensor with_readable_rows(const torch::Tensor& mask);

/// The output [B, H, T, Dv], in the memory order of [B, T, H, Dv], so that joining the heads is a
/// view; and, if asked for, what is kept of each row, [B, H, T, 2].
struct BlockwiseOutput {
  torch::Tensor output, sums;
};
BlockwiseOutput blockwise_forward(const BlockwiseTensors& in, const BlockwiseParameters& parameters,
                                  bool wants_sums);

/// The chosen weights: [B, h, t, S]; their mean, [B, 1, t, S].
torch::Tensor blockwise_weights(const BlockwiseTensors& in, const BlockwiseParameters& parameters,
                                const torch::Tensor& sums, const ChosenWeights& chosen);

/// Gradients of the output and of the chosen weights; either may be undefined.
struct BlockwiseUpstream {
  torch::Tensor output, weights;
};
/// The gradients of `in`; of sinks only if there are any; and of the mask's bias or relative bias, if
/// it requires one, which both do not (`described_mask`).
struct BlockwiseGradients {
  BlockwiseTensors of;
  torch::Tensor bias, relative_bias;
};
BlockwiseGradients blockwise_backward(const BlockwiseTensors& in,
                                      const BlockwiseParameters& parameters,
                                      const BlockwiseOutput& out, const ChosenWeights& chosen,
                                      const BlockwiseUpstream& upstream);

/// What dropout multiplied the weights [B, H, T, S] with; undefined if there is none.
torch::Tensor blockwise_kept(const torch::Tensor& query, int64_t source,
                             const kernels::AttentionDropout& dropout);

}  // namespace attend::functional
