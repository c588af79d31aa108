#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <vector>

#include "attend/decoding/beam_search.h"
#include "attend/models/incremental_model.h"
#include "decoding/step_tokens.h"
#include "decoding/token_rules.h"

namespace attend::detail {

inline constexpr auto kBeamSearch = "beam_search";  // in errors

/// What is wanted of a sentence.
struct SearchRequest {
  size_t id;              // what the sentence is called in BeamStep and errors
  int64_t source_length;  // without its batch's padding
  int64_t n_best;
  bool attention;
  std::vector<int64_t> prefix = {};  // that its hypotheses begin with
};

/// The search of one sentence, which takes steps of its own.
struct SentenceSearch {
  // A token of an unfinished hypothesis, or one at the limit. The hypotheses of step t have t tokens.
  struct Node {
    int64_t token;
    int parent;   // index in `nodes` of the previous token, or kNoParent
    int64_t row;  // of the batch whose step chose it
  };
  struct Live {
    int node = kNoParent;  // the last token
    double log_probability = 0;
  };
  struct Finished {
    int node;  // its last token before the end token
    double log_probability, score;
    bool ended;
    int64_t row;  // of the batch whose step chose the end token
  };
  static constexpr int kNoParent = -1;

  SearchRequest request;
  std::vector<int64_t> fed_first;     // before the prefix; none if no rule needs it
  int64_t limit;                      // in tokens, prefix and end token included
  int64_t keys;                       // that its first step attends to
  bool keys_grow;                     // by one a step, since hypotheses continue their source
  size_t place = 0;                   // among the sentences of the last step
  int64_t step = 0;                   // those it has taken, the length of its unfinished hypotheses
  std::vector<Live> beam = {Live{}};  // one to begin with: K equal ones would stay equal
  std::vector<Node> nodes = {};
  std::vector<Finished> finished = {};        // best first
  std::vector<torch::Tensor> attention = {};  // of the rows of each step's batch, [N, S]
  std::exception_ptr error = {};              // why it ended without a result

  /// The tokens up to a node, in their order.
  std::vector<int64_t> tokens_to(int node) const;
  /// The columns of its attention when the last step was taken.
  int64_t columns() const { return keys + (keys_grow ? step - 1 : 0); }
};

/// Beam search over a batch whose sentences start and end at any time: the rules of `beam_search`.
class Search {
 public:
  Search(IncrementalModel& model, BeamSearchOptions options);

  const BeamSearchOptions& options() const { return options_; }
  size_t size() const { return live_.size(); }

  /// Whether sentences can start now: if there are none, or the model's states can admit.
  bool can_start() const;

  /// Encodes sources, which take part in the next step. source: [B, S]; requests: [B].
  void start(const torch::Tensor& source, const AttentionMask& mask,
             const std::vector<SearchRequest>& requests);

  /// Takes a step of each sentence, and returns those that have ended. An error of one sentence ends
  /// that one, an error of the model all.
  std::vector<SentenceSearch> step();

  /// Drops a sentence that has taken a step. Returns whether there is one of that id.
  bool cancel(size_t id);

  /// The N best hypotheses of each sentence. Attention is as wide as the widest of all.
  std::vector<std::vector<Hypothesis>> results(const std::vector<SentenceSearch>& sentences) const;

 private:
  int64_t room(const DecoderState& state, int64_t source_length, int64_t prefix_length) const;
  int64_t limit(int64_t room, double source_length) const;
  torch::Tensor regroup();
  torch::Tensor go_on();
  void set_request(torch::Device device);
  BestTokens advance(const torch::Tensor& tokens);
  BestTokens best_by_rules(const StepOutput& output) const;
  std::vector<RowTokens> tokens_of_rows() const;
  std::optional<int64_t> forced_token(const SentenceSearch& sentence) const;
  std::vector<SentenceSearch> take_all(const std::exception_ptr& error);
  std::vector<SentenceSearch> grow_all(const BestTokens& step);

  struct Candidate {
    size_t parent;  // index in the beam
    int64_t token;
    double log_probability;
  };
  std::vector<Candidate> candidates(const SentenceSearch& sentence, int64_t first_row,
                                    const BestTokens& step) const;
  void grow(SentenceSearch& sentence, int64_t first_row, const BestTokens& step) const;
  bool finish(SentenceSearch& sentence, const Candidate& candidate, int64_t row) const;
  bool is_done(const SentenceSearch& grown) const;
  double score(const SentenceSearch& sentence, double log_probability, int64_t length) const;

  // Sentences that have not taken part in a step.
  struct Started {
    std::unique_ptr<DecoderState> state;
    torch::Tensor tokens;  // [B], to feed first
  };

  IncrementalModel& model_;
  const BeamSearchOptions options_;
  const SpecialTokenIds special_;
  const size_t beam_;
  const bool has_scores_;
  const RuleBook rules_;
  BestTokensRequest request_;  // of every step; without `excluded` until vocab_ is known
  int64_t vocab_;              // V of the logits; 0: unknown
  std::unique_ptr<DecoderState> state_;
  std::vector<Started> started_;
  std::vector<SentenceSearch> live_;  // those of started_ last
  size_t places_ = 0;                 // sentences of the last step
  int64_t rows_ = 0;                  // rows of the last step
};

}  // namespace attend::detail
