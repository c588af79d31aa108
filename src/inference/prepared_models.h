#pragma once

#include <memory>

#include "attend/inference/prepared_model.h"
#include "attend/models/causal_lm.h"
#include "attend/models/seq2seq.h"

namespace attend::detail {

inline constexpr auto kPreparedModel = "PreparedModel";  // in errors

std::unique_ptr<PreparedModel> prepare(const Seq2SeqImpl& model, const InferenceOptions& options);
std::unique_ptr<PreparedModel> prepare(const CausalLMImpl& model, WeightPrecision precision);

}  // namespace attend::detail
