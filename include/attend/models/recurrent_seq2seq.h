#pragma once

// For programs that use a whole model.

#include <torch/torch.h>

#include <memory>

#include "attend/export.h"
#include "attend/models/incremental_model.h"
#include "attend/models/model_holder.h"
#include "attend/modules/basic_attention.h"

namespace attend {

/// Options for `RecurrentSeq2Seq`.
struct ATTEND_API RecurrentSeq2SeqOptions {
  RecurrentSeq2SeqOptions(int64_t src_vocab, int64_t tgt_vocab, int64_t embed_dim);

  TORCH_ARG(int64_t, src_vocab);         // number of source tokens
  TORCH_ARG(int64_t, tgt_vocab);         // V, number of target tokens
  TORCH_ARG(int64_t, embed_dim);         // E, of the embeddings and of each GRU's state
  TORCH_ARG(int64_t, attention_dim);     // of the additive attention's hidden layer; default E
  TORCH_ARG(double, dropout) = 0.1;      // on embeddings and on the output layer's input; [0, 1)
  TORCH_ARG(int64_t, max_length) = 512;  // target tokens that decoding may feed
  TORCH_ARG(bool, share_embeddings);     // one matrix for both sides: the target's tokens are the
                                         // first tgt_vocab of the source's; default if
                                         // vocabularies have one size
  TORCH_ARG(bool, tie_output) = true;    // the target embeddings are the output layer too
  TORCH_ARG(int64_t, eos_id) = 0;        // ends a sentence
  TORCH_ARG(int64_t, pad_id);    // its embedding is zero and does not learn; default: the last
                                 // id that both vocabularies have; any id of a shared table
  TORCH_ARG(int64_t, start_id);  // fed first to the decoder; default pad_id
};

/// A recurrent encoder-decoder with additive attention: a bidirectional GRU encodes the source, and
/// a GRU decodes the target, whose states attend to the encoder's.
///
///   h = [GRU->(x); GRU<-(x)],  s_t = GRU(y_(t-1), s_(t-1)),  c_t = attention(s_t, h),
///   logits_t = W_out tanh(W_c [s_t; c_t])
///
/// Source: Bahdanau et al., 2015, arXiv:1409.0473 (encoder, score); Luong et al., 2015,
///         arXiv:1508.04025, section 3.1 (the attending state is s_t, the output layer's input is
///         tanh(W_c [s_t; c_t])). GRU: Cho et al., 2014, arXiv:1406.1078.
/// Shapes: source [B, S], target [B, T] ids -> logits [B, T, V].
/// Throws: c10::ValueError for options, c10::Error for shapes.
/// Note:   Bahdanau feeds c_t into the recurrence. With Luong's order all T queries attend at once,
///         so only the GRUs are sequential. A source mask must describe padding at the end.
class ATTEND_API RecurrentSeq2SeqImpl : public torch::nn::Cloneable<RecurrentSeq2SeqImpl>,
                                        public TranslationModel {
 public:
  RecurrentSeq2SeqImpl(int64_t src_vocab, int64_t tgt_vocab, int64_t embed_dim)
      : RecurrentSeq2SeqImpl(RecurrentSeq2SeqOptions(src_vocab, tgt_vocab, embed_dim)) {}
  explicit RecurrentSeq2SeqImpl(const RecurrentSeq2SeqOptions& options_);
  void reset() override;
  void pretty_print(std::ostream& stream) const override;

  torch::Tensor forward(const torch::Tensor& source, const torch::Tensor& target,
                        const AttentionMask& source_mask = {},
                        const AttentionMask& target_mask = {}) override;
  torch::Tensor loss_sum(const torch::Tensor& source, const torch::Tensor& target,
                         const torch::Tensor& labels, double label_smoothing = 0.0) override;

  /// The attention weights [B, T, S] of a teacher-forced pass.
  torch::Tensor attention_weights(const torch::Tensor& source, const torch::Tensor& target,
                                  const AttentionMask& source_mask = {});

  SpecialTokenIds special_tokens() const override;
  VocabularySizes vocabulary_sizes() const override {
    return {options.src_vocab(), options.tgt_vocab()};
  }
  int64_t max_target_length() const override { return options.max_length(); }
  torch::nn::Module& module() override { return *this; }
  std::unique_ptr<DecoderState> start(const torch::Tensor& source,
                                      const AttentionMask& source_mask = {}) override;
  StepOutput step(const torch::Tensor& tokens, DecoderState& state,
                  bool want_alignment = false) override;

  RecurrentSeq2SeqOptions options;
  torch::nn::Embedding shared{nullptr};                               // shared embeddings, or
  torch::nn::Embedding embed_source{nullptr}, embed_target{nullptr};  // separate ones
  torch::nn::GRU encoder_forward{nullptr}, encoder_backward{nullptr};
  torch::nn::Linear bridge{nullptr};  // the encoder's last states -> the decoder's first
  torch::nn::GRU decoder{nullptr};
  BasicAttention attention{nullptr};
  torch::nn::Linear combine{nullptr};  // W_c
  torch::nn::Linear lm_head{nullptr};  // only without tie_output
  torch::Tensor final_logits_bias;     // [1, V]

 protected:
  FORWARD_HAS_DEFAULT_ARGS({2, torch::nn::AnyValue(AttentionMask())},
                           {3, torch::nn::AnyValue(AttentionMask())})

 private:
  struct Memory;
  struct Decoded;
  Memory encode(const torch::Tensor& source, const AttentionMask& source_mask);
  Decoded decode(const torch::Tensor& target, const Memory& memory, const torch::Tensor& hidden,
                 const WeightsRequest& weights);
  const torch::Tensor& target_table() const;
  torch::Tensor output_table() const;
  torch::Tensor project(const torch::Tensor& features) const;
};
class RecurrentSeq2Seq : public ModelHolder<RecurrentSeq2SeqImpl> {
 public:
  using ModelHolder<RecurrentSeq2SeqImpl>::ModelHolder;
};

}  // namespace attend
