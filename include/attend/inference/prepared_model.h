#pragma once

// For those who serve a trained model.

#include <torch/torch.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "attend/export.h"
#include "attend/models/incremental_model.h"

namespace attend {

/// How a prepared model stores its weights. Sums are float32 with each.
enum class WeightPrecision {
  kFloat32,
  kBFloat16,  // weights rounded to bfloat16, half the memory; on CPUs that multiply these, inputs too
  kInt8,      // weights rounded to 8 bits with a scale an output, and inputs with a scale a row: a
              // quarter of the memory
};

/// The target tokens that a source may be translated to, in any order: ids below V. source: its ids
/// without padding. Called by several threads at a time.
using TargetShortlist = std::function<std::vector<int64_t>(std::span<const int64_t> source)>;

/// Options for `prepare_for_inference`.
struct InferenceOptions {
  WeightPrecision precision = WeightPrecision::kFloat32;
  // Of a Seq2Seq: compute logits of these tokens and the end token alone. Others have probability 0.
  TargetShortlist shortlist = {};
};

/// A model whose step is a fixed plan: weights packed once in the order in which products read them,
/// queries, keys and values of a layer in one product, bias, activation and residual at a product's
/// end, a cache that is indexed rather than copied, and no dispatch of LibTorch's operators.
///
/// Beam search, sampling and Translator take it as they take the model. A row's logits have the same
/// bits whatever other rows are in the batch.
///
/// With a shortlist, the output layer's weights of the tokens that any of a batch's sources has are copied
/// side by side when decoding starts; a step computes these, and each row's logits are those of its own
/// source's tokens (`StepOutput::tokens`), whatever others are in the batch.
///
/// Shapes: those of IncrementalModel: source [B, S] or prompt [B, P] ids, tokens [N] -> logits [N, V]
///         or, with a shortlist, [N, W], in float32, alignment [N, S]; on the CPU.
/// Throws: c10::ValueError for sequences longer than max_target_length, c10::IndexError for ids outside
///         the vocabulary, also those of a shortlist, c10::Error for other shapes, masks of other things than padding, and states
///         of another model.
/// Source: Dettmers et al., 2022, arXiv:2208.07339, section 2.1, for a scale a row of 8-bit inputs
///         and one an output of weights; the cache that is indexed: Kwon et al., 2023,
///         arXiv:2309.06180, section 4.1; the shortlist: Jean et al., 2015, arXiv:1412.2007, section
///         3.3.
/// Note:   it holds the weights as they were when it was made; token and position tables are shared
///         with the model. It has no gradients.
///         Several threads may use it, each with states of its own. The logits of a step may be
///         overwritten by the state's next step unless a reference to them is held.
class ATTEND_API PreparedModel : public IncrementalModel {
 public:
  /// The bytes of its packed weights, tables of tokens and positions not counted.
  virtual size_t weight_bytes() const = 0;
};

/// Why `model` cannot be prepared; empty if it can: a `Seq2Seq` or `CausalLM` in float32 on the CPU,
/// with any options but relative_bias, add_bias_kv and add_zero_attn.
ATTEND_API std::string inference_obstacle(const IncrementalModel& model);

/// Prepares a model for serving on the CPU. Packing takes about as long as reading the weights.
/// Throws: c10::ValueError with inference_obstacle(model), and for a CausalLM with a shortlist.
ATTEND_API std::unique_ptr<PreparedModel> prepare_for_inference(
    const IncrementalModel& model, const InferenceOptions& options = {});

}  // namespace attend
