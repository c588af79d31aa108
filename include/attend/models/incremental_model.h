#pragma once

// For those who write models that attend decodes, and decoders of their own.

#include <torch/torch.h>

#include <memory>

#include "attend/export.h"
#include "attend/functional/mask.h"

namespace attend {

/// The token ids that decoding needs to know.
struct SpecialTokenIds {
  int64_t start_id;  // fed first
  int64_t eos_id;    // ends a sequence
  int64_t pad_id;    // fills up rows; never chosen; -1 where there is none
};

/// How many ids a model knows.
struct VocabularySizes {
  int64_t source = 0;  // of what it reads; 0: unknown
  int64_t target = 0;  // V, of what it writes; 0: unknown
};

/// The state of a model between the steps of N sequences that grow by one token a step. The N rows
/// belong to B sentences, N / B consecutive rows to each: the hypotheses of a beam.
class ATTEND_API DecoderState {
 public:
  virtual ~DecoderState() = default;
  DecoderState() = default;
  DecoderState(const DecoderState&) = delete;
  DecoderState& operator=(const DecoderState&) = delete;
  DecoderState(DecoderState&&) = delete;
  DecoderState& operator=(DecoderState&&) = delete;

  /// The number of tokens each row has been fed.
  virtual int64_t position() const = 0;

  /// The first token to feed to each row, [N] ids; undefined where it is the model's start token.
  /// For a model that continues a prompt it is the prompt's last token.
  virtual torch::Tensor first_tokens() const { return {}; }

  /// Row i becomes the old row rows[i]. rows: [N'], integers. `sentences` [B'] names the old
  /// sentences that remain, in order, when some are finished; undefined keeps all of them. N' must
  /// be a multiple of B', with the rows of one sentence side by side.
  virtual void reorder(const torch::Tensor& rows, const torch::Tensor& sentences = {}) = 0;
};

/// The result of one step.
struct StepOutput {
  torch::Tensor logits;     // [N, V] of the next token
  torch::Tensor alignment;  // [N, S] attention to the source, if requested; rows sum to 1
};

/// A model that continues sequences token by token: what every decoding method works on.
class ATTEND_API IncrementalModel {
 public:
  virtual ~IncrementalModel() = default;
  IncrementalModel() = default;
  IncrementalModel(const IncrementalModel&) = default;
  IncrementalModel& operator=(const IncrementalModel&) = default;
  IncrementalModel(IncrementalModel&&) = default;
  IncrementalModel& operator=(IncrementalModel&&) = default;

  virtual SpecialTokenIds special_tokens() const = 0;

  /// The sizes that a tokenizer must fit.
  virtual VocabularySizes vocabulary_sizes() const { return {}; }

  /// The largest number of tokens a row can be fed.
  virtual int64_t max_target_length() const = 0;

  /// Reads the sources once. source: [B, S] ids; the mask is made from the pad id when left out.
  virtual std::unique_ptr<DecoderState> start(const torch::Tensor& source,
                                              const AttentionMask& source_mask = {}) = 0;

  /// Feeds one token to every row of `state`, which advances. tokens: [N] ids.
  virtual StepOutput step(const torch::Tensor& tokens, DecoderState& state,
                          bool want_alignment = false) = 0;
};

/// A model that translates: it can be trained with teacher forcing and decoded step by step.
class ATTEND_API TranslationModel : public IncrementalModel {
 public:
  /// Logits of every next token. source: [B, S] ids; target: [B, T] ids, starting with the start id
  /// and shifted one to the right of what is to be predicted -> [B, T, V]. Masks are made from the
  /// pad id when left out.
  virtual torch::Tensor forward(const torch::Tensor& source, const torch::Tensor& target,
                                const AttentionMask& source_mask = {},
                                const AttentionMask& target_mask = {}) = 0;

  /// The sum over all real labels of the label-smoothed cross-entropy of `forward`'s logits, in
  /// nats. labels: [B, T] ids, the tokens to predict; the pad id is left out. Training minimises
  /// this: no tensor of all logits is made.
  virtual torch::Tensor loss_sum(const torch::Tensor& source, const torch::Tensor& target,
                                 const torch::Tensor& labels, double label_smoothing = 0.0) = 0;

  /// The module that holds the parameters.
  virtual torch::nn::Module& module() = 0;
};

}  // namespace attend
