#pragma once

// For programs that use a whole model.

#include <torch/torch.h>

#include <memory>
#include <vector>

#include "attend/export.h"
#include "attend/models/incremental_model.h"
#include "attend/models/model_holder.h"
#include "attend/modules/positional_encoding.h"
#include "attend/modules/transformer_decoder.h"
#include "attend/modules/transformer_encoder.h"

namespace attend {

/// Options for `Seq2Seq`. The defaults are Marian's; a layer may have any parts:
///
///   Seq2SeqOptions(src_vocab, tgt_vocab,
///                  TransformerLayerOptions(MultiHeadAttentionOptions(512, 8).num_kv_heads(2)
///                                              .rotary(RotaryOptions()))
///                      .feed_forward(FeedForwardOptions(512, 1376).gated(true)
///                                        .activation(Activation::kSwish))
///                      .norm(NormKind::kRms).norm_order(NormOrder::kPre),
///                  /*num_layers=*/6)
///       .positions(PositionKind::kNone)
struct ATTEND_API Seq2SeqOptions {
  Seq2SeqOptions(int64_t src_vocab, int64_t tgt_vocab, int64_t embed_dim, int64_t num_heads,
                 int64_t num_layers);
  /// The same layer options on both sides; only the decoder uses cross_attention.
  Seq2SeqOptions(int64_t src_vocab, int64_t tgt_vocab, const TransformerLayerOptions& layer,
                 int64_t num_layers);

  TORCH_ARG(int64_t, src_vocab);                      // number of source tokens
  TORCH_ARG(int64_t, tgt_vocab);                      // V, number of target tokens
  TORCH_ARG(TransformerLayerOptions, encoder_layer);  // of every layer of the encoder
  TORCH_ARG(TransformerLayerOptions, decoder_layer);  // of the decoder; the same embed_dim
  TORCH_ARG(int64_t, encoder_layers);                 // default num_layers; may be 0
  TORCH_ARG(int64_t, decoder_layers);                 // default num_layers; may be 0
  TORCH_ARG(PositionKind,
            positions) = PositionKind::kSinusoidalHalves;  // kNone where the attention has them
  TORCH_ARG(int64_t, max_length) = 512;                    // positions, of source and target alike
  TORCH_ARG(double, embedding_dropout) = 0.1;              // [0, 1)
  TORCH_ARG(bool, share_embeddings);        // one matrix for both sides: the target's tokens are
                                            // the first tgt_vocab of the source's; default if
                                            // vocabularies have one size
  TORCH_ARG(bool, tie_output) = true;       // the target embeddings are the output layer too
  TORCH_ARG(bool, scale_embedding) = true;  // embeddings times sqrt(E): Vaswani, section 3.4
  TORCH_ARG(int64_t, eos_id) = 0;           // ends a sentence
  TORCH_ARG(int64_t, pad_id);               // its embedding is zero and does not learn; default:
                                            // the last id that both vocabularies have; any id of
                                            // a shared table, whose last one CTranslate2 wants
  TORCH_ARG(int64_t, start_id);             // fed first to the decoder; default pad_id (Marian)

 public:
  // Shortcuts to the layers' options, on both sides.
  int64_t embed_dim() const { return encoder_layer_.embed_dim(); }
  Seq2SeqOptions& feed_forward_dim(int64_t value);
  Seq2SeqOptions& activation(Activation value);
  Seq2SeqOptions& norm_order(NormOrder value);
  Seq2SeqOptions& dropout(double value);             // of embeddings and sublayers; [0, 1)
  Seq2SeqOptions& attention_dropout(double value);   // on attention weights; [0, 1)
  Seq2SeqOptions& activation_dropout(double value);  // on the hidden layer; [0, 1)
};

/// What `Seq2Seq::run` returns: logits, and the attention weights of every layer if requested
/// (undefined for layers without a request).
struct Seq2SeqOutput {
  torch::Tensor logits;                        // [B, T, V]
  std::vector<torch::Tensor> encoder_weights;  // a layer each: [B, H, S, S] or [B, S, S]
  std::vector<torch::Tensor> decoder_weights;  // a layer each: [B, H, T, T] or [B, T, T]
  std::vector<torch::Tensor> cross_weights;    // a layer each: [B, H, T, S] or [B, T, S]
};

/// The encoder or decoder of a `Seq2Seq`: embeddings (unless they are shared), positions and
/// layers, registered under the names of Hugging Face's Marian and BART.
template <typename Stack>
class ATTEND_API Seq2SeqSideImpl : public torch::nn::Cloneable<Seq2SeqSideImpl<Stack>> {
 public:
  explicit Seq2SeqSideImpl(const Seq2SeqOptions& options_);
  void reset() override;
  void pretty_print(std::ostream& stream) const override;

  Seq2SeqOptions options;
  torch::nn::Embedding embed_tokens{nullptr};  // only with separate embeddings
  PositionalEncoding embed_positions{nullptr};
  Stack stack{nullptr};  // its `layers` and `layer_norm` are registered directly in this module
};

/// The submodule `model` of Hugging Face: the embeddings and the two stacks.
class ATTEND_API Seq2SeqBodyImpl : public torch::nn::Cloneable<Seq2SeqBodyImpl> {
 public:
  explicit Seq2SeqBodyImpl(const Seq2SeqOptions& options_);
  void reset() override;
  void pretty_print(std::ostream& stream) const override;

  Seq2SeqOptions options;
  torch::nn::Embedding shared{nullptr};  // only with shared embeddings
  std::shared_ptr<Seq2SeqSideImpl<TransformerEncoder>> encoder;
  std::shared_ptr<Seq2SeqSideImpl<TransformerDecoder>> decoder;
};
TORCH_MODULE(Seq2SeqBody);

/// A Transformer that maps one sequence of tokens to another, of the Marian and BART architecture.
///
/// Source: Vaswani et al., 2017, arXiv:1706.03762; Junczys-Dowmunt et al., 2018, arXiv:1804.00344.
/// Shapes: source [B, S], target [B, T] ids -> logits [B, T, V].
/// Throws: c10::ValueError for options and for sequences longer than max_length, c10::Error for
///         shapes and for ids outside the vocabulary.
/// Note:   parameter names are those of transformers' MarianMTModel. The padding token's embedding
///         is zero and has no gradient, as there; if loaded weights have a padding row that is not
///         zero, it is trained.
class ATTEND_API Seq2SeqImpl : public torch::nn::Cloneable<Seq2SeqImpl>, public TranslationModel {
 public:
  Seq2SeqImpl(int64_t src_vocab, int64_t tgt_vocab, int64_t embed_dim, int64_t num_heads,
              int64_t num_layers)
      : Seq2SeqImpl(Seq2SeqOptions(src_vocab, tgt_vocab, embed_dim, num_heads, num_layers)) {}
  explicit Seq2SeqImpl(const Seq2SeqOptions& options_);
  void reset() override;
  void pretty_print(std::ostream& stream) const override;

  torch::Tensor forward(const torch::Tensor& source, const torch::Tensor& target,
                        const AttentionMask& source_mask = {},
                        const AttentionMask& target_mask = {}) override;
  torch::Tensor loss_sum(const torch::Tensor& source, const torch::Tensor& target,
                         const torch::Tensor& labels, double label_smoothing = 0.0) override;

  /// `forward` that also returns the attention weights of every layer, or of chosen ones.
  Seq2SeqOutput run(const torch::Tensor& source, const torch::Tensor& target,
                    const AttentionMask& source_mask = {}, const AttentionMask& target_mask = {},
                    const WeightsRequest& weights = WeightsRequest::kNone);

  SpecialTokenIds special_tokens() const override;
  VocabularySizes vocabulary_sizes() const override {
    return {options.src_vocab(), options.tgt_vocab()};
  }
  int64_t max_target_length() const override { return options.max_length(); }
  torch::nn::Module& module() override { return *this; }

  /// The alignment is the last layer's cross-attention, averaged over its heads.
  std::unique_ptr<DecoderState> start(const torch::Tensor& source,
                                      const AttentionMask& source_mask = {}) override;
  StepOutput step(const torch::Tensor& tokens, DecoderState& state,
                  bool want_alignment = false) override;

  Seq2SeqOptions options;
  Seq2SeqBody model{nullptr};
  torch::Tensor final_logits_bias;     // [1, V]
  torch::nn::Linear lm_head{nullptr};  // only without tie_output; no bias of its own

 protected:
  FORWARD_HAS_DEFAULT_ARGS({2, torch::nn::AnyValue(AttentionMask())},
                           {3, torch::nn::AnyValue(AttentionMask())})

 private:
  torch::Tensor embed_source(const torch::Tensor& source);
  // at: [B, T], positions instead of those from offset on.
  torch::Tensor embed_target(const torch::Tensor& target, int64_t offset,
                             const torch::Tensor& at = {});
  torch::Tensor embed(const torch::Tensor& ids, const torch::Tensor& table,
                      PositionalEncoding& positions, int64_t offset,
                      const torch::Tensor& at = {}) const;
  const torch::Tensor& source_table() const;
  const torch::Tensor& target_table() const;
  torch::Tensor output_table() const;
  torch::Tensor project(const torch::Tensor& hidden) const;
  // Like `run`, but returns the decoder's output [B, T, E] instead of logits.
  Seq2SeqOutput hidden(const torch::Tensor& source, const torch::Tensor& target,
                       const AttentionMask& source_mask, const AttentionMask& target_mask,
                       const WeightsRequest& weights);
};
class Seq2Seq : public ModelHolder<Seq2SeqImpl> {
 public:
  using ModelHolder<Seq2SeqImpl>::ModelHolder;
};

}  // namespace attend
