#pragma once

// For those who write models that attend decodes, and decoders of their own.

#include <torch/torch.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "attend/export.h"
#include "attend/functional/mask.h"

namespace attend {

/// The special tokens of a model.
struct SpecialTokenIds {
  int64_t start_id;  // fed first
  int64_t eos_id;    // ends a sequence
  int64_t pad_id;    // padding; never chosen; -1 if there is none
};

/// The vocabulary sizes of a model.
struct VocabularySizes {
  int64_t source = 0;  // of its input; 0: unknown
  int64_t target = 0;  // V, of its output; 0: unknown
};

/// The decoding state of N sequences, which grow by one token per step. The N rows belong to B
/// sentences, N / B consecutive rows to each, such as the hypotheses of a beam; where `rows_may_differ`,
/// any number to each.
class ATTEND_API DecoderState {
 public:
  virtual ~DecoderState() = default;
  DecoderState() = default;
  DecoderState(const DecoderState&) = delete;
  DecoderState& operator=(const DecoderState&) = delete;
  DecoderState(DecoderState&&) = delete;
  DecoderState& operator=(DecoderState&&) = delete;

  /// The number of tokens each row has been fed; the largest, where sentences joined later.
  virtual int64_t position() const = 0;

  /// The first token to feed to each row, [N] ids; undefined if it is the model's start token. A
  /// model that continues a prompt returns the prompt's last token.
  virtual torch::Tensor first_tokens() const { return {}; }

  /// Makes row i the old row rows[i]. rows: [N'], integers. `sentences` [B'] are the old indices of
  /// the remaining sentences, in ascending order; undefined keeps all. N' must be a multiple of B',
  /// with the rows of a sentence next to each other.
  virtual void reorder(const torch::Tensor& rows, const torch::Tensor& sentences = {}) = 0;

  /// Whether sentences may have different numbers of rows. Where they may not, beam search fills up with
  /// rows that it ignores, and reorders a state before its first step to have those of the state it joins.
  virtual bool rows_may_differ() const { return false; }

  /// Whether sentences can join this state while it decodes: whether `admit` is implemented.
  virtual bool can_admit() const { return false; }

  /// Appends the rows of another state of the same model, which decode along from then on, each at
  /// its own position. Unless `rows_may_differ`, both have as many rows for each sentence.
  /// Throws: c10::Error for a state of another model, for another number of rows, and where `can_admit`
  ///         is false.
  virtual void admit(std::unique_ptr<DecoderState> other);
};

/// What the logarithms of probabilities are relative to.
enum class Normaliser {
  kAll,      // all tokens' probability
  kAllowed,  // that of the tokens that are not excluded
  kNone,     // nothing: they are the logits
};

/// Which of the next tokens are wanted.
struct BestTokensRequest {
  int64_t count = 1;            // C >= 1 of each row, or all if there are fewer
  torch::Tensor excluded = {};  // [X] ids that are not among them, ascending; undefined: none
  Normaliser normaliser = Normaliser::kAll;
};

/// The C most probable next tokens of each of N rows, in descending order, of equal ones the first one
/// first. A row that has NaN begins with NaN. Where it has fewer tokens than C, probability 0 follows,
/// with any id.
struct BestTokens {
  int64_t count = 0;                          // C
  std::vector<float> log_probabilities = {};  // [N, C]
  std::vector<int64_t> tokens = {};           // [N, C]

  double log_probability(int64_t row, int64_t column) const {
    return log_probabilities[static_cast<size_t>(row * count + column)];
  }
  int64_t token(int64_t row, int64_t column) const {
    return tokens[static_cast<size_t>(row * count + column)];
  }
};

/// The result of one step.
struct StepOutput {
  // [N, V] of the next token; [N, W] of those in `tokens`, if there are; undefined where there is `best`.
  torch::Tensor logits;

  // [N, S] attention to the source, if requested; rows sum to 1. S is that of the longest of the state's
  // sources, which may have left; shorter ones have zeros behind.
  torch::Tensor alignment;

  // [N], from a model that chooses among a few tokens in each row: the ids of the row's logits, in
  // ascending order, 1 to W; the logits after these are -infinity. Empty: every id has its logit.
  std::vector<std::shared_ptr<const std::vector<int64_t>>> tokens = {};

  std::optional<BestTokens> best = {};  // of `step_best` alone
};

/// A model that predicts one token at a time; the interface that all decoding methods use.
class ATTEND_API IncrementalModel {
 public:
  virtual ~IncrementalModel() = default;
  IncrementalModel() = default;
  IncrementalModel(const IncrementalModel&) = default;
  IncrementalModel& operator=(const IncrementalModel&) = default;
  IncrementalModel(IncrementalModel&&) = default;
  IncrementalModel& operator=(IncrementalModel&&) = default;

  virtual SpecialTokenIds special_tokens() const = 0;

  /// The sizes that a tokenizer's vocabularies must fit.
  virtual VocabularySizes vocabulary_sizes() const { return {}; }

  /// The largest number of tokens a row can be fed.
  virtual int64_t max_target_length() const = 0;

  /// Encodes the sources once. source: [B, S] ids; without a mask, one is made from pad_id.
  virtual std::unique_ptr<DecoderState> start(const torch::Tensor& source,
                                              const AttentionMask& source_mask = {}) = 0;

  /// Feeds one token to every row and advances `state`. tokens: [N] ids.
  virtual StepOutput step(const torch::Tensor& tokens, DecoderState& state,
                          bool want_alignment = false) = 0;

  /// `step` for those who want the best tokens alone: a model may give `best` in place of logits, which
  /// it then need not keep. This one gives logits.
  virtual StepOutput step_best(const torch::Tensor& tokens, DecoderState& state,
                               const BestTokensRequest& request, bool want_alignment = false);
};

/// A translation model, trained with teacher forcing and decoded step by step.
class ATTEND_API TranslationModel : public IncrementalModel {
 public:
  /// The logits of every next token. source: [B, S] ids; target: [B, T] ids, which begin with
  /// start_id and are shifted right by one -> [B, T, V]. Without masks, they are made from pad_id.
  virtual torch::Tensor forward(const torch::Tensor& source, const torch::Tensor& target,
                                const AttentionMask& source_mask = {},
                                const AttentionMask& target_mask = {}) = 0;

  /// The sum over all real labels of the label-smoothed cross-entropy of `forward`'s logits, in
  /// nats. labels: [B, T] ids, the tokens to predict; pad_id is left out. Training minimises this.
  /// It never holds the logits of all positions at once.
  virtual torch::Tensor loss_sum(const torch::Tensor& source, const torch::Tensor& target,
                                 const torch::Tensor& labels, double label_smoothing = 0.0) = 0;

  /// The module that holds the parameters.
  virtual torch::nn::Module& module() = 0;
};

}  // namespace attend
