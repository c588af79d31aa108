#pragma once

#include <nlohmann/json.hpp>

#include "attend/models/incremental_model.h"

namespace attend::detail {

/// What of a model's options must be the same in a run that goes on, and is not told by the shapes of its weights: a
/// JSON object, empty for a model of another class than Seq2Seq and RecurrentSeq2Seq.
nlohmann::json model_identity(const TranslationModel& model);

}  // namespace attend::detail
