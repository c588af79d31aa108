#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "inference/prepared_linear.h"
#include "inference/scratch.h"

namespace attend::detail {

/// The outputs of a layer that some sentence may have, for sentences that come and go. Each output is
/// there once, whoever has it; the product is over these, and each row takes its own sentence's.
class SelectedOutputs {
 public:
  /// A sentence's outputs.
  struct Selection {
    std::vector<int64_t> outputs;  // of the whole layer, ascending
    std::vector<int32_t> columns;  // where they are here
  };
  using SelectionPointer = std::shared_ptr<const Selection>;

  SelectedOutputs() = default;
  /// Of a layer, which must outlive this.
  explicit SelectedOutputs(const PreparedLinear& whole);

  /// Adds a sentence. outputs: ascending, each once.
  SelectionPointer add(std::vector<int64_t> outputs);

  /// Adds the sentences of the rows of others of the same layer, of which a sentence's lie together.
  /// Returns what these rows have here.
  std::vector<SelectionPointer> admit(const std::vector<SelectionPointer>& of_row);

  /// Removes the sentences whose selections nobody else holds.
  void remove_unused();

  /// The room that the outputs of a row take at most.
  static int64_t width_of(const std::vector<SelectionPointer>& of_row);

  /// values: [rows, width_of(of_row)]: those of each row's own outputs in their order, then -infinity.
  void run(const float* input, const std::vector<SelectionPointer>& of_row, float* values,
           Scratch& scratch);

 private:
  const PreparedLinear* whole_ = nullptr;
  PreparedLinear layer_;
  std::vector<int32_t> column_of_;  // of each output of the whole layer; -1: none
  std::vector<int32_t> users_;      // of each column: the sentences that have it
  std::vector<int32_t> free_;       // columns without users
  std::vector<SelectionPointer> sentences_;
  Buffer<float> products_;  // [rows, columns]
};

}  // namespace attend::detail
