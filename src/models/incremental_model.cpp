#include "attend/models/incremental_model.h"

namespace attend {

void DecoderState::admit(std::unique_ptr<DecoderState> /*other*/) {
  TORCH_CHECK(false,
              "DecoderState: expected a state that sentences can join (can_admit), such as a "
              "prepared model's, got another");
}

StepOutput IncrementalModel::step_best(const torch::Tensor& tokens, DecoderState& state,
                                       const BestTokensRequest& /*request*/, bool want_alignment) {
  return step(tokens, state, want_alignment);
}

}  // namespace attend
