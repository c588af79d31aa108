#pragma once

// For programs that translate and score translations.

#include <torch/torch.h>

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "attend/decoding/alignment.h"
#include "attend/decoding/beam_search.h"
#include "attend/inference/prepared_model.h"
#include "attend/models/incremental_model.h"
#include "attend/text/subword_tokenizer.h"
#include "attend/toolkit_export.h"
#include "attend/translation/lexicon.h"

namespace attend {

namespace detail {
class TranslationStream;
}

/// Options for `Translator`. Options without a value are read from generation_config.json in the
/// model's folder; the comments give the defaults if that does not set them either.
struct TranslatorOptions {
  std::optional<int64_t> beam_size =
      {};              // hypotheses kept; 1 is greedy search; or else 5, and n_best
                       // at least
  int64_t n_best = 1;  // translations returned for each text; at most beam_size
  std::optional<double> length_penalty =
      {};  // scores are divided by length^length_penalty; or else 1
  std::optional<EarlyStopping> early_stopping = {};  // when a search ends; or else kFalse
  std::optional<double> repetition_penalty = {};     // see TokenRules; or else 1
  std::optional<int64_t> no_repeat_ngram_size = {};  // no n tokens in a row twice; or else 0: off
  std::optional<int64_t> min_length = {};            // least target tokens, the start token counted
                                                     // but not the end token; or else 0
  double max_length_factor = 3.0;                    // target tokens allowed for each source token
  int64_t batch_tokens = 4096;                       // source tokens per batch, padding counted
  bool attention = false;                            // return alignments too
  bool scores = true;                                // false: greedy search is faster, and a
                                                     // translation's log_probability and score are
                                                     // NaN; without effect with a larger beam
  // Translate with the model prepared for inference (prepare_for_inference), on the CPU. `load` takes
  // kFloat32 by default where the model can be prepared; otherwise the default is the model itself.
  std::optional<WeightPrecision> precision = {};
  // Decode with a `GraphedDecoder`, whose steps a CUDA device replays as graphs, and let texts join
  // those that decode. For a Seq2Seq without a precision. Each number of texts, length and width of the
  // beam that occurs, rounded up to a power of two, keeps a step in memory. No GPU has run it so far. Off
  // by default.
  bool graphed = false;
  // Compute only the probabilities of the target tokens that a lexicon gives for the source: faster with
  // a large vocabulary, and another translation where its words are not among them. Needs a prepared
  // model. Off by default.
  std::optional<ShortlistOptions> shortlist = {};
};

/// One translation of a text.
struct Translation {
  std::string text;
  double log_probability = 0;  // in nats, sum over all target tokens, including an end token
  double score = 0;            // log_probability / length^length_penalty; what is ranked
  int64_t source_tokens = 0;   // that the model read, with the end token
  int64_t target_tokens = 0;   // that it wrote, including an end token
  torch::Tensor attention;     // [target words, source words], rows sum to about 1, if requested
  std::vector<WordLink> alignment;  // each target word with the source word it attends to most
};

/// Translates texts.
///
/// Every text gets a translation: an empty text an empty one, and a text that is longer than the
/// model's positions is translated in parts.
///
/// On a CPU, many texts are divided among LibTorch's threads, each of which translates some of them
/// independently. Several threads may call `translate` at the same time; then only one call uses
/// the other threads.
///
/// With a precision, a text's translations and scores have the same bits whatever others are
/// translated with it, by however many threads. Attention between words, and everything without a
/// precision, is the same to rounding.
///
/// If the model has more ids than the tokenizer, they are never chosen.
///
/// Throws: c10::ValueError for options, and for a tokenizer that does not fit the model
///         (`tokenizer_mismatch`); FileError for a lexicon, as load_lexicon.
class ATTEND_TOOLKIT_API Translator {
 public:
  /// Switches the model to evaluation mode. With a precision, changes of the model's weights have no
  /// effect afterwards.
  Translator(std::shared_ptr<TranslationModel> model, SubwordTokenizer tokenizer,
             const TranslatorOptions& options = {}, torch::Device device = torch::kCPU);

  /// Loads a model folder, attend's own or MarianMT's, and its search options
  /// (load_search_options). Throws FileError, also if the tokenizer does not fit the model, and
  /// c10::ValueError for options.
  static Translator load(const std::filesystem::path& folder, const TranslatorOptions& options = {},
                         torch::Device device = torch::kCPU);

  /// The n_best translations of each text, best first, in the order of the texts. `prefixes`: none, or a
  /// text for each, perhaps empty, with whose tokens its translations begin.
  /// Throws: c10::ValueError if there are neither none nor as many prefixes as texts, and for a prefix that
  ///         leaves no room for tokens.
  std::vector<std::vector<Translation>> translate(
      const std::vector<std::string>& texts, const std::vector<std::string>& prefixes = {}) const;

  /// The same with these in place of the options' n_best and attention.
  /// Throws: c10::ValueError unless 1 <= n_best <= beam_size().
  std::vector<std::vector<Translation>> translate(const std::vector<std::string>& texts,
                                                  int64_t n_best, bool attention) const;

  /// The best translation of one text.
  Translation translate(const std::string& text) const;

  /// The attention of given translations (teacher forcing), one matrix [target words, source words]
  /// per pair.
  /// Throws: c10::ValueError if the numbers of sources and targets differ, or for a text longer
  ///         than the model's positions.
  std::vector<torch::Tensor> align(const std::vector<std::string>& sources,
                                   const std::vector<std::string>& targets) const;

  const SubwordTokenizer& tokenizer() const { return tokenizer_; }
  const TranslatorOptions& options() const { return options_; }
  int64_t beam_size() const { return search_.beam_size; }  // the caller's or the folder's

 private:
  friend class detail::TranslationStream;
  struct Threads;
  std::vector<std::vector<Translation>> translate(const std::vector<std::string>& texts,
                                                  const std::vector<std::string>& prefixes,
                                                  int64_t n_best, bool attention) const;
  Translator(std::shared_ptr<TranslationModel> model, SubwordTokenizer tokenizer,
             const TranslatorOptions& options, torch::Device device,
             const std::optional<BeamSearchOptions>& of_folder);

  std::shared_ptr<IncrementalModel> model_;  // as given, or prepared
  SubwordTokenizer tokenizer_;
  TranslatorOptions options_;
  BeamSearchOptions search_;
  torch::Device device_;
  std::shared_ptr<Threads> threads_;
};

}  // namespace attend
