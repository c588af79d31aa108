#include "attend/models/incremental_model.h"

namespace attend {

void DecoderState::admit(std::unique_ptr<DecoderState> /*other*/) {
  TORCH_CHECK(false,
              "DecoderState: expected a state that sentences can join (can_admit), such as a "
              "prepared model's, got another");
}

}  // namespace attend
