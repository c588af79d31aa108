#pragma once

// For those who decode on CUDA devices.

#include <torch/torch.h>

#include <cstdint>
#include <memory>

#include "attend/export.h"
#include "attend/models/incremental_model.h"

namespace attend {

namespace detail {
class StaticSteps;
}

/// A model whose step of decoding has fixed sizes and reads and writes tensors that never move, so that
/// a CUDA graph is captured of it once and replayed: the host starts one graph a step instead of some
/// hundred kernels, which is what limits decoding of small batches on a GPU.
///
/// Beam search, sampling and Translator take it as they take the model. It starts as the model does.
/// The first step copies what the encoder or the prompt gave into the tensors of a step of the next
/// larger size, and makes that step where it is the first of its size. The sizes are powers of two: of
/// the sentences (each with N / B rows), of the source's length, at least 16, and of the tokens fed to a
/// row, at least 64. Rows, keys and slots beyond the batch's are computed and masked. Reordering copies
/// rows within these tensors, and sentences that join are copied into rows that are free. Where there
/// are more sentences than that, or half as many, or a row has outgrown its slots, the batch goes on in
/// a step of another size.
///
/// On other devices than CUDA the same step runs on the same tensors, without a graph.
///
/// Source: Pope et al., 2022, arXiv:2211.05102, section 3.3, for caches of static size.
/// Shapes: those of IncrementalModel: source [B, S] or prompt [B, P] ids, tokens [N] -> logits [N, V],
///         alignment [N, S].
/// Throws: c10::ValueError for models other than Seq2Seq and CausalLM, for a Seq2Seq without decoder
///         layers, for no sentences, and for sequences longer than max_target_length; c10::Error for
///         source masks that are a bias, for states of another model, and on a CUDA device where attend
///         was built without the CUDA toolkit.
/// Note:   it has no gradients: it computes in torch::InferenceMode. The logits of a step are overwritten
///         by the state's next step. All sentences have as many rows; `admit` expects that of those that
///         join. Where one leaves after others have joined, the lengths of the rest are read from the
///         device.
///         It refers to the model, whose weights may change in place; one that is moved to another
///         device or dtype needs a new GraphedDecoder. A step's tensors and graph are kept, for the next
///         batch of its size, until the last copy of the GraphedDecoder and the last state are destroyed.
///         Several threads may use it, each with states of its own.
///         No GPU has run the capture so far.
class ATTEND_API GraphedDecoder : public IncrementalModel {
 public:
  explicit GraphedDecoder(std::shared_ptr<IncrementalModel> model);

  SpecialTokenIds special_tokens() const override;
  VocabularySizes vocabulary_sizes() const override;
  int64_t max_target_length() const override;
  std::unique_ptr<DecoderState> start(const torch::Tensor& source,
                                      const AttentionMask& source_mask = {}) override;
  StepOutput step(const torch::Tensor& tokens, DecoderState& state,
                  bool want_alignment = false) override;

  /// The steps made so far: one for each size, and more where several states of one size live at once.
  int64_t steps_made() const;

 private:
  std::shared_ptr<detail::StaticSteps> steps_;
};

}  // namespace attend
