#pragma once

#include <string>

namespace attend::detail {

// Constants that all translation model formats share.

constexpr auto kMarian = "marian";
constexpr auto kAttendSeq2Seq = "attend_seq2seq";
constexpr auto kAttendRecurrent = "attend_recurrent_seq2seq";

/// The name of the output layer's bias.
constexpr auto kLogitsBias = "final_logits_bias";

inline bool is_seq2seq(const std::string& model_type) {
  return model_type == kMarian || model_type == kAttendSeq2Seq;
}

}  // namespace attend::detail
