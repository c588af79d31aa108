#pragma once

// For those who serve a model to many callers.

#include <torch/torch.h>

#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <vector>

#include "attend/decoding/beam_search.h"
#include "attend/export.h"
#include "attend/models/incremental_model.h"

namespace attend {

/// What one sentence of a `ContinuousBeamSearch` is to get, where it differs from the search's options.
struct SentenceOptions {
  std::optional<int64_t> n_best = {};  // at most the search's beam_size
  std::optional<bool> attention = {};  // record the attention to the source
  std::vector<int64_t> prefix = {};    // tokens that its hypotheses begin with, as in `beam_search`
};

/// A sentence whose search has ended.
struct SearchedSentence {
  size_t id = 0;
  std::vector<Hypothesis> hypotheses = {};  // best first; none after an error
  std::exception_ptr error = {};            // why there are none; null if there are
};

/// Beam search that sentences join while others decode, so that the batch stays full on endless
/// input: continuous batching.
///
/// Each step takes one step of every sentence, at whatever length it is, and returns those that have
/// ended; their memory is used again. Rules, options and results are those of `beam_search`. With a
/// prepared model (`prepare_for_inference`) a sentence's hypotheses and scores have the same bits
/// whatever others there are; with a `GraphedDecoder`, to rounding. The states of other models cannot
/// admit sentences: those that wait start together when the last that decodes has ended, and share
/// their batch to rounding.
///
/// An error that concerns one sentence, such as logits that are NaN, ends that sentence alone. One
/// of the model's step ends all that decode. Either way the search goes on with what is admitted
/// afterwards.
///
/// Source: Yu et al., 2022, "Orca: A Distributed Serving System for Transformer-Based Generative
///         Models", OSDI, section 3.1, iteration-level scheduling.
/// Note:   BeamStep::sentence, of on_step, is the id. Recorded attention has a column for each source
///         token, without padding. For one thread at a time.
class ATTEND_API ContinuousBeamSearch {
 public:
  /// The model must live as long as the search. device: where its inputs go. max_sentences: those
  /// that wait or decode at a time; each has up to beam_size rows of a step.
  /// Throws: c10::ValueError for options, and unless max_sentences > 0.
  ContinuousBeamSearch(IncrementalModel& model, const BeamSearchOptions& options,
                       int64_t max_sentences, torch::Device device = torch::kCPU);
  ~ContinuousBeamSearch();
  ContinuousBeamSearch(const ContinuousBeamSearch&) = delete;
  ContinuousBeamSearch& operator=(const ContinuousBeamSearch&) = delete;
  ContinuousBeamSearch(ContinuousBeamSearch&&) noexcept;
  ContinuousBeamSearch& operator=(ContinuousBeamSearch&&) noexcept;

  /// Adds a sentence, which takes part from the next step on. source: its ids, with the end token
  /// if the model expects one. Sentences that are admitted between two steps are encoded together,
  /// which is faster than one by one.
  /// Throws: c10::ValueError for an empty source, one longer than the model's positions, an id that
  ///         is in use and options out of range; c10::IndexError for ids outside the vocabulary;
  ///         c10::Error without room. Nothing has changed then.
  void admit(size_t id, std::vector<int64_t> source, const SentenceOptions& options = {});

  /// Takes a step of every sentence, and returns those that have ended.
  std::vector<SearchedSentence> step();

  /// Drops a sentence that waits or decodes. Returns whether there was one of that id.
  bool cancel(size_t id);

  /// The number of sentences that wait or decode.
  int64_t size() const;
  bool has_room() const { return size() < max_sentences(); }
  int64_t max_sentences() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace attend
