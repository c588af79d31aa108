#pragma once

// For programs that use a whole model.

#include <torch/torch.h>

#include <memory>
#include <vector>

#include "attend/export.h"
#include "attend/models/incremental_model.h"
#include "attend/models/model_holder.h"
#include "attend/modules/positional_encoding.h"
#include "attend/modules/transformer_encoder.h"

namespace attend {

/// Options for `CausalLM`. The defaults are GPT-2's; Llama's are
///
///   CausalLMOptions(vocab_size,
///                   TransformerLayerOptions(MultiHeadAttentionOptions(4096, 32).num_kv_heads(8)
///                                               .rotary(RotaryOptions{.base = 500000}))
///                       .feed_forward(FeedForwardOptions(4096, 14336).gated(true)
///                                         .activation(Activation::kSwish))
///                       .norm(NormKind::kRms).norm_order(NormOrder::kPre)
///                       .bias(false).dropout(0.0),
///                   /*num_layers=*/32)
///       .positions(PositionKind::kNone).tie_output(false)
struct ATTEND_API CausalLMOptions {
  CausalLMOptions(int64_t vocab_size, int64_t embed_dim, int64_t num_heads, int64_t num_layers);
  /// Positions, max_length and dropout of the embeddings default to GPT-2's.
  CausalLMOptions(int64_t vocab_size, const TransformerLayerOptions& layer, int64_t num_layers);

  TORCH_ARG(int64_t, vocab_size);             // V
  TORCH_ARG(TransformerLayerOptions, layer);  // of every block
  TORCH_ARG(int64_t, num_layers);             // blocks
  TORCH_ARG(PositionKind,
            positions) = PositionKind::kLearned;  // kNone where the attention has them
  TORCH_ARG(int64_t, max_length) = 1024;          // tokens of a sequence
  TORCH_ARG(double, embedding_dropout) = 0.1;     // [0, 1)
  TORCH_ARG(bool, final_norm);                    // after the last block; default: with pre-norm
  TORCH_ARG(bool, tie_output) = true;             // the embeddings are the output layer too
  TORCH_ARG(int64_t, bos_id);                     // begins a text; default: the last id
  TORCH_ARG(int64_t, eos_id);                     // ends it; default: the last id

 public:
  // Shortcuts to the layer's options.
  int64_t embed_dim() const { return layer_.embed_dim(); }
  int64_t num_heads() const { return layer_.num_heads(); }
  int64_t feed_forward_dim() const { return layer_.feed_forward_dim(); }
  CausalLMOptions& feed_forward_dim(int64_t value);
  CausalLMOptions& activation(Activation value);
  CausalLMOptions& norm_eps(double value);
  CausalLMOptions& dropout(double value);            // of embeddings and sublayers; [0, 1)
  CausalLMOptions& attention_dropout(double value);  // on attention weights; [0, 1)
};

/// What `CausalLM::run` returns.
struct CausalLMOutput {
  torch::Tensor logits;                // [B, T, V]
  std::vector<torch::Tensor> weights;  // a layer each, if requested: [B, H, T, T] or [B, T, T]
};

/// A decoder-only language model, which predicts each token from those before it: embeddings and
/// positions, causal layers, and an output layer. GPT-2 and Llama are two settings of it.
///
/// Source: Radford et al., 2019, "Language models are unsupervised multitask learners", section
///         2.3; Touvron et al., 2023, arXiv:2302.13971, section 2.2.
/// Shapes: ids [B, T] -> logits [B, T, V].
/// Throws: c10::ValueError for options and for sequences longer than max_length, c10::Error for
///         shapes and for ids outside the vocabulary.
/// Note:   `start` reads a prompt [B, P] of P >= 1 tokens; the first step feeds its last token.
///         Prompts of different lengths are padded on the left, which the mask must describe.
class ATTEND_API CausalLMImpl : public torch::nn::Cloneable<CausalLMImpl>, public IncrementalModel {
 public:
  CausalLMImpl(int64_t vocab_size, int64_t embed_dim, int64_t num_heads, int64_t num_layers)
      : CausalLMImpl(CausalLMOptions(vocab_size, embed_dim, num_heads, num_layers)) {}
  explicit CausalLMImpl(const CausalLMOptions& options_);
  void reset() override;
  void pretty_print(std::ostream& stream) const override;

  /// `mask` is combined with causality, such as segments for several texts in one row.
  torch::Tensor forward(const torch::Tensor& ids, const AttentionMask& mask = {});

  /// `forward` that also returns the attention weights of every layer, or of chosen ones.
  CausalLMOutput run(const torch::Tensor& ids, const AttentionMask& mask = {},
                     const WeightsRequest& weights = WeightsRequest::kNone);

  /// The sum over all real labels of the label-smoothed cross-entropy of `forward`'s logits, in
  /// nats. ids, labels: [B, T]; labels[b][t] is the token to predict after ids[b][t]; labels equal
  /// to ignore_id are left out. Training minimises this. It never holds the logits of all positions
  /// at once.
  torch::Tensor loss_sum(const torch::Tensor& ids, const torch::Tensor& labels,
                         int64_t ignore_id = -100, double label_smoothing = 0.0,
                         const AttentionMask& mask = {});

  /// Start and end of a text; there is no pad token, which is -1.
  SpecialTokenIds special_tokens() const override;
  VocabularySizes vocabulary_sizes() const override {
    return {options.vocab_size(), options.vocab_size()};
  }
  int64_t max_target_length() const override { return options.max_length(); }

  /// `mask` may describe padding on the left: AttentionMask::padding([B, P], true = token).
  /// Positions count from each prompt's first token.
  std::unique_ptr<DecoderState> start(const torch::Tensor& prompt,
                                      const AttentionMask& mask = {}) override;
  /// The alignment is the last layer's attention to all positions so far, averaged over its heads.
  StepOutput step(const torch::Tensor& tokens, DecoderState& state,
                  bool want_alignment = false) override;

  CausalLMOptions options;
  torch::nn::Embedding embed_tokens{nullptr};
  PositionalEncoding embed_positions{nullptr};
  TransformerEncoder decoder{nullptr};
  torch::nn::Linear lm_head{nullptr};  // only without tie_output; no bias

 private:
  // padding: [B], the padded tokens before each row; undefined for none. at: [T], positions instead of
  // those from offset on, with padding.
  torch::Tensor embed(const torch::Tensor& ids, int64_t offset, const torch::Tensor& padding = {},
                      const torch::Tensor& at = {});
  const torch::Tensor& output_table() const;
  EncoderOutput decode(const torch::Tensor& ids, const AttentionMask& mask,
                       const WeightsRequest& weights);
  torch::Tensor project(const torch::Tensor& hidden) const;

 protected:
  FORWARD_HAS_DEFAULT_ARGS({1, torch::nn::AnyValue(AttentionMask())})
};
class CausalLM : public ModelHolder<CausalLMImpl> {
 public:
  using ModelHolder<CausalLMImpl>::ModelHolder;
};

}  // namespace attend
