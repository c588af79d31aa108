#pragma once

#include <torch/torch.h>

#include <cstdint>

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
  PreparedState(int64_t rows, int64_t layers, int64_t key_width)
      : cache(layers, key_width), slots(rows) {}

  int64_t position() const override { return fed; }

  /// Where the logits [rows, vocab] of a step go: the last step's, unless a caller kept them.
  float* logits_of(int64_t rows, int64_t vocab) {
    if (!logits.defined() || logits.use_count() > 1 || logits.size(0) != rows ||
        logits.size(1) != vocab) {
      logits = torch::empty({rows, vocab}, on_cpu(torch::kFloat));
    }
    return logits.mutable_data_ptr<float>();
  }

  SlotCache cache;
  SlotTable slots;
  int64_t fed = 0;  // tokens of each row, padding counted
  Scratch scratch;
  torch::Tensor logits;  // of the last step
};

/// The state as the one that this kind of model makes, ready for a step of `tokens`. Throws c10::Error
/// for another state and other tokens than a row each, c10::ValueError beyond max_length.
template <typename State>
State& state_for_step(DecoderState& state, const torch::Tensor& tokens, int64_t max_length) {
  auto* own = dynamic_cast<State*>(&state);
  TORCH_CHECK(own != nullptr, kPreparedModel,
              ": expected a state made by this model's start, got another");
  check_ids(kPreparedModel, "tokens", tokens);
  check_shape(kPreparedModel, "tokens", tokens, {own->slots.rows()});
  TORCH_CHECK_VALUE(own->fed < max_length, kPreparedModel,
                    ": expected positions within max_length ", max_length, ", got ", own->fed,
                    " + 1");
  return *own;
}

}  // namespace attend::detail
