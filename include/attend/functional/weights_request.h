#pragma once

// For all who call attention: its weights.

#include <torch/torch.h>

#include <cstdint>
#include <vector>

#include "attend/export.h"

namespace attend {

/// Which attention weights to return beside the output: per head, or their mean over the heads; of
/// all or of chosen heads, queries and layers. What is not chosen is not computed.
///
///   layer(x, mask, WeightsRequest::kMean);
///   model->run(ids, {}, WeightsRequest(WeightsRequest::kPerHead).heads({0, 3}).layers({-1}));
///   pointer(query, key, key, mask, WeightsRequest(WeightsRequest::kMean)
///                                      .values(WeightsRequest::Values::kLogProbabilities));
///
/// Indices count from 0, or from the end with -1 the last, and weights are returned in their order.
struct ATTEND_API WeightsRequest {
  // Scoped, so that a kind does not convert to a number.
  enum class Kind { kNone, kPerHead, kMean };
  static constexpr Kind kNone = Kind::kNone;        // the output only
  static constexpr Kind kPerHead = Kind::kPerHead;  // [B, H, T, S]
  static constexpr Kind kMean = Kind::kMean;        // the mean over the heads, [B, T, S]

  /// What to return of them. Scores are those that the softmax is taken of, with the mask applied:
  /// -infinity where a key is hidden. So are logarithms of hidden weights.
  enum class Values { kWeights, kScores, kLogProbabilities };

  /// Implicit, so that a kind can be passed where a request is expected.
  WeightsRequest(Kind kind = kNone) : kind_(kind) {}  // NOLINT(google-explicit-constructor)

  TORCH_ARG(Kind, kind);
  TORCH_ARG(std::vector<int64_t>, heads);    // H is their number; a mean is over them; empty: all
  TORCH_ARG(std::vector<int64_t>, queries);  // T is their number; empty: all
  TORCH_ARG(Values, values) = Values::kWeights;  // others: of additive attention alone
  TORCH_ARG(std::vector<int64_t>, layers);       // of a stack: the weights of its other layers are
      // undefined tensors; empty: all. A layer ignores it.

 public:
  bool is_none() const { return kind_ == kNone; }

  /// What a stack of `num_layers` asks of one of them: this request, or none.
  /// Throws: c10::ValueError if a chosen layer does not exist.
  WeightsRequest of_layer(int64_t layer, int64_t num_layers) const;
};

}  // namespace attend
