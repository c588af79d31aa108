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

/// What some rows and sentences of a state take up.
struct Extent {
  int64_t position;  // tokens that the row with most was fed
  int64_t source;    // keys of the longest source; 0 without a source
};

/// Where rows and sentences begin.
struct Place {
  int64_t row = 0, sentence = 0;
};

/// A decoding state of a model whose step can run on tensors of fixed sizes and addresses, reading and
/// writing no number of the host: on what `make_fixed` returns. There, attention to keys (the
/// alignment of a step) has all of them, `positions` or S.
class FixableState : public DecoderState {
 public:
  /// Throws c10::ValueError for a model, and c10::Error for a mask, whose step of fixed sizes would not be
  /// the same.
  virtual void check_fixable() const {}

  /// The keys S of each sentence; 0 without a source.
  virtual int64_t source_length() const = 0;

  /// A state of fixed sizes without contents: `assign` gives it these, and its number of rows.
  virtual std::unique_ptr<FixableState> make_fixed(const FixedSizes& sizes) const = 0;

  /// Of a state that make_fixed made: copies another state of the model into it, or itself. Row
  /// to.row + i becomes its row rows[i], sentence to.sentence + i its sentence sentences[i]; all others
  /// stay, and an undefined `sentences` leaves all sentences that it has. Tensors are made by the first
  /// call and by the first step, and are written to by all others.
  virtual void assign(const FixableState& other, const torch::Tensor& rows,
                      const torch::Tensor& sentences, const Place& to) = 0;

  /// Of a state that make_fixed made, whose rows may stand at different positions: read from the device.
  virtual Extent extent(const torch::Tensor& rows, const torch::Tensor& sentences) const = 0;

  /// Tells a state that make_fixed made the position of its row with most, which the host does not know
  /// once a graph replays its steps or rows have left.
  virtual void set_position(int64_t position) = 0;
};

}  // namespace attend::detail
