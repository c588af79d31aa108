#pragma once

#include <string>

#include "functional/attention_inputs.h"

namespace attend::functional {

/// What an attention may have beside queries, keys, values and a mask.
enum AttentionExtra : unsigned {
  kNoExtra = 0,
  kDropout = 1U << 0U,
  kLearnedBias = 1U << 1U,  // a bias that requires a gradient
  kSoftCap = 1U << 2U,
  kSinks = 1U << 3U,
  kTangents = 1U << 4U,  // of forward-mode AD, in any of the tensors
  kEveryExtra = ~0U,
};

/// One way to compute scaled dot-product attention. To add one, write its file and put it into the
/// table of attention_backend.cpp; the formula (attention_formula.h) is what it has to agree with.
struct AttentionBackend {
  /// The first words of `explain_attention`.
  const char* name;
  /// Of AttentionExtra: the others are kept from it.
  unsigned extras;
  /// Whether it takes what LoweredMask describes beside tensors; others get `LoweredMask::dense`.
  bool takes_described_masks = false;
  /// Whether it takes inputs that are bfloat16 (`AttentionInputs::is_bfloat16`); others get them as
  /// float32.
  bool takes_bfloat16 = false;
  /// Whether it computes these inputs and is the fastest that does, of those behind it in the
  /// table.
  bool (*takes)(const AttentionInputs& in);
  /// The output [B, H, T, Dv].
  torch::Tensor (*run)(const AttentionInputs& in);
  /// The same bits, and the weights that the request names; null: `requested_weights` computes
  /// these beside it.
  AttentionOutput (*run_with_weights)(const AttentionInputs& in,
                                      const WeightsRequest& request) = nullptr;
  /// What becomes of the mask, to stand behind the name.
  std::string (*describe)(const AttentionInputs& in);
};

extern const AttentionBackend kBlockwiseAttention;  // blockwise_attention.cpp
extern const AttentionBackend kAttentionToNothing;  // attention_backend.cpp
extern const AttentionBackend kWindowAttention;     // window_attention.cpp
extern const AttentionBackend kLibTorchAttention;   // libtorch_attention.cpp
extern const AttentionBackend kFormula;             // attention_formula.cpp

/// The first backend of the table that takes these inputs. All choices are made here.
const AttentionBackend& choose_backend(const AttentionInputs& in);

/// `in` with a dense mask and in float32, unless the backend takes others.
AttentionInputs as_taken_by(const AttentionBackend& backend, const AttentionInputs& in);

/// Whether one of the tensors carries a tangent.
bool has_tangents(const AttentionInputs& in);

/// ", <what> [2, 1, 1, 5]" for `describe`; nothing for an undefined tensor.
std::string described_part(const char* what, const torch::Tensor& part);

}  // namespace attend::functional
