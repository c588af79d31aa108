#pragma once

#include <torch/torch.h>

#include <memory>

#include "attend/models/incremental_model.h"

namespace attend::detail {

/// The sizes of a decoding state whose tensors never move, beside those of its rows.
struct FixedSizes {
  int64_t positions;  // tokens a row may be fed
  int64_t source;     // S, keys of a sentence; 0 for a model without a source
};

/// A decoding state of a model whose step can run on tensors of fixed sizes and addresses, reading and
/// writing no number of the host: on what `make_fixed` returns. There, attention to keys (the
/// alignment of a step) has all of them, `positions` or S.
class FixableState : public DecoderState {
 public:
  /// The keys S of each sentence; 0 without a source.
  virtual int64_t source_length() const = 0;

  /// A state of fixed sizes without contents: `assign` gives it these, and its number of rows.
  /// Throws: c10::ValueError for a model whose step would not be the same.
  virtual std::unique_ptr<FixableState> make_fixed(const FixedSizes& sizes) const = 0;

  /// Of a state that make_fixed made: copies another state of the model into it, or itself. Row i becomes
  /// its row rows[i], sentence i its sentence sentences[i]; an undefined `sentences` leaves the sentences
  /// that it has. Tensors are made by the first call and by the first step, and are written to by all
  /// others.
  virtual void assign(const FixableState& other, const torch::Tensor& rows,
                      const torch::Tensor& sentences) = 0;
};

}  // namespace attend::detail
