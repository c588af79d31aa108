#pragma once

#include <torch/torch.h>

#include <memory>
#include <vector>

#include "attend/export.h"
#include "attend/models/incremental_model.h"
#include "attend/modules/positional_encoding.h"
#include "attend/modules/transformer_encoder.h"

namespace attend {

/// Options for `CausalLM`. The defaults are GPT-2's.
struct ATTEND_API CausalLMOptions {
  CausalLMOptions(int64_t vocab_size, int64_t embed_dim, int64_t num_heads, int64_t num_layers);

  TORCH_ARG(int64_t, vocab_size);              // V
  TORCH_ARG(int64_t, embed_dim);               // E, a multiple of num_heads
  TORCH_ARG(int64_t, num_heads);               // H
  TORCH_ARG(int64_t, num_layers);              // blocks
  TORCH_ARG(int64_t, feed_forward_dim);        // default 4 E
  TORCH_ARG(int64_t, max_length) = 1024;       // positions
  TORCH_ARG(double, dropout) = 0.1;            // on embeddings and sublayer outputs; [0, 1)
  TORCH_ARG(double, attention_dropout) = 0.1;  // on attention weights; [0, 1)
  TORCH_ARG(Activation, activation) = Activation::kGeluTanh;
  TORCH_ARG(double, norm_eps) = 1e-5;  // added to the variance
  TORCH_ARG(int64_t, bos_id);          // begins a text; default: the last id
  TORCH_ARG(int64_t, eos_id);          // ends it; default: the last id
};

/// What `CausalLM::run` returns.
struct CausalLMOutput {
  torch::Tensor logits;                // [B, T, V]
  std::vector<torch::Tensor> weights;  // a layer each, if requested: [B, H, T, T] or [B, T, T]
};

/// A language model that predicts each token from those before it, of GPT-2's architecture:
/// learned positions, pre-norm layers, a norm after the last one, and the embeddings as output
/// layer.
///
/// Source: Radford et al., 2019, "Language models are unsupervised multitask learners", section 2.3.
/// Shapes: ids [B, T] -> logits [B, T, V].
/// Throws: c10::ValueError for options and for sequences longer than max_length, c10::Error for
///         shapes and for ids outside the vocabulary.
/// Note:   `start` reads a prompt [B, P] of P >= 1 tokens; its last token is fed by the first step.
///         The prompts of a batch have one length.
class ATTEND_API CausalLMImpl : public torch::nn::Cloneable<CausalLMImpl>, public IncrementalModel {
 public:
  CausalLMImpl(int64_t vocab_size, int64_t embed_dim, int64_t num_heads, int64_t num_layers)
      : CausalLMImpl(CausalLMOptions(vocab_size, embed_dim, num_heads, num_layers)) {}
  explicit CausalLMImpl(const CausalLMOptions& options_);
  void reset() override;
  void pretty_print(std::ostream& stream) const override;

  /// `mask` is joined with causality: segments, for texts that share a row.
  torch::Tensor forward(const torch::Tensor& ids, const AttentionMask& mask = {});

  /// `forward` that also returns the attention weights of every layer, or of chosen ones.
  CausalLMOutput run(const torch::Tensor& ids, const AttentionMask& mask = {},
                     const WeightsRequest& weights = WeightsRequest::kNone);

  /// Start and end of a text; there is no pad token, which is -1.
  SpecialTokenIds special_tokens() const override;
  int64_t max_target_length() const override { return options.max_length(); }

  /// The mask must be left out.
  std::unique_ptr<DecoderState> start(const torch::Tensor& prompt,
                                      const AttentionMask& mask = {}) override;
  /// The alignment is the last layer's attention to the positions so far, mean over its heads.
  StepOutput step(const torch::Tensor& tokens, DecoderState& state,
                  bool want_alignment = false) override;

  CausalLMOptions options;
  torch::nn::Embedding embed_tokens{nullptr};
  PositionalEncoding embed_positions{nullptr};
  TransformerEncoder decoder{nullptr};

 private:
  torch::Tensor embed(const torch::Tensor& ids, int64_t offset);
  torch::Tensor project(const torch::Tensor& hidden) const;

 protected:
  FORWARD_HAS_DEFAULT_ARGS({1, torch::nn::AnyValue(AttentionMask())})
};
TORCH_MODULE(CausalLM);

}  // namespace attend
