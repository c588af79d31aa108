#pragma once

#include <torch/torch.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "attend/models/incremental_model.h"
#include "detail/check.h"
#include "inference/prepared_models.h"
#include "inference/prepared_rows.h"
#include "inference/scratch.h"
#include "inference/slot_cache.h"

namespace attend::detail {

/// What the states of all prepared models hold.
class PreparedState : public DecoderState {
 public:
  PreparedState(const PreparedModel& model, int64_t rows, int64_t layers, int64_t key_width)
      : owner(&model), cache(layers, key_width), slots(rows), padding(static_cast<size_t>(rows)) {}

  int64_t position() const override {
    int64_t most = 0;
    for (int64_t row = 0; row < slots.rows(); ++row) most = std::max(most, fed(row));
    return most;
  }
  /// Tokens that a row was fed, padding counted.
  int64_t fed(int64_t row) const { return slots.count(row) + padding[static_cast<size_t>(row)]; }

  bool rows_may_differ() const override { return true; }
  bool can_admit() const override { return true; }

  /// Where the logits [rows, vocab] of a step go: the last step's, unless a caller kept them.
  float* logits_of(int64_t rows, int64_t vocab) {
    if (!logits.defined() || logits.use_count() > 1 || logits.size(0) != rows ||
        logits.size(1) != vocab) {
      logits = torch::empty({rows, vocab}, on_cpu(torch::kFloat));
    }
    return logits.mutable_data_ptr<float>();
  }

  const PreparedModel* owner;
  SlotCache cache;
  SlotTable slots;
  std::vector<int32_t> padding;  // [N], tokens before each row's first that have no slot
  Scratch scratch;
  torch::Tensor logits;  // of the last step

 protected:
  void reorder_rows(const std::vector<int64_t>& from) {
    slots.reorder(from);
    padding = selected(padding, from);
  }
  void append_rows(PreparedState& other) {
    const auto slot_of = cache.take_copies(other.cache, other.slots, slots);
    slots.append_rows(other.slots, slot_of);
    padding.insert(padding.end(), other.padding.begin(), other.padding.end());
  }
};

/// The state as the one that this model makes. Throws c10::Error for another.
template <typename State>
State& state_of(const PreparedModel& model, DecoderState& state) {
  auto* own = dynamic_cast<State*>(&state);
  TORCH_CHECK(own != nullptr && own->owner == &model, kPreparedModel,
              ": expected a state made by this model's start, got another");
  return *own;
}

/// `state_of`, ready for a step of `tokens`. Throws c10::Error for other tokens than a row each,
/// c10::ValueError beyond max_length.
template <typename State>
State& state_for_step(const PreparedModel& model, DecoderState& state,
                      const torch::Tensor& tokens) {
  auto& own = state_of<State>(model, state);
  check_ids(kPreparedModel, "tokens", tokens);
  check_shape(kPreparedModel, "tokens", tokens, {own.slots.rows()});
  const auto position = own.position(), most = model.max_target_length();
  TORCH_CHECK_VALUE(position < most, kPreparedModel, ": expected positions within max_length ",
                    most, ", got ", position, " + 1");
  return own;
}

}  // namespace attend::detail
