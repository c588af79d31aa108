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
#include "attend/models/incremental_model.h"
#include "attend/text/subword_tokenizer.h"
#include "attend/toolkit_export.h"

namespace attend {

/// How `Translator` translates. What is left open is as the model's folder says in its
/// generation_config.json, or else as said here.
struct TranslatorOptions {
  std::optional<int64_t> beam_size =
      {};              // hypotheses kept; 1 is greedy search; or else 5, and n_best
                       // at least
  int64_t n_best = 1;  // translations returned for each text; at most beam_size
  std::optional<double> length_penalty =
      {};  // scores are divided by length^length_penalty; or else 1
  std::optional<EarlyStopping> early_stopping = {};  // when a search ends; or else kFalse
  double max_length_factor = 3.0;                    // target tokens allowed for each source token
  int64_t batch_tokens = 4096;  // source tokens translated at a time, padding counted
  bool attention = false;       // return alignments too
};

/// One translation of a text.
struct Translation {
  std::string text;
  double log_probability = 0;  // in nats, over all target tokens and the end token, if there is one
  double score = 0;            // log_probability / length^length_penalty; what is ranked
  torch::Tensor attention;     // [target words, source words], rows sum to about 1, if requested
  std::vector<WordLink> alignment;  // each target word with the source word it attends to most
};

/// Text in, text out.
///
/// Every text gets an answer: an empty one an empty answer, and one that is longer than the model
/// has positions is translated part by part.
///
/// On a CPU, many texts are divided among LibTorch's threads, each of which translates some of them
/// from the first layer to the last word. Any number of threads may call `translate` at a time; one
/// of them has the use of the others.
///
/// A model that knows more ids than the tokenizer never chooses them.
///
/// Throws: c10::ValueError for options, and for a tokenizer that is not the model's
///         (`tokenizer_mismatch`).
class ATTEND_TOOLKIT_API Translator {
 public:
  /// Puts the model into evaluation mode.
  Translator(std::shared_ptr<TranslationModel> model, SubwordTokenizer tokenizer,
             const TranslatorOptions& options = {}, torch::Device device = torch::kCPU);

  /// Reads a model folder, attend's own or a MarianMT one, and how it says to search
  /// (load_search_options). Throws FileError, also where the folder's tokenizer is not its model's.
  static Translator load(const std::filesystem::path& folder, const TranslatorOptions& options = {},
                         torch::Device device = torch::kCPU);

  /// The n_best translations of each text, best first, in the order of the texts.
  std::vector<std::vector<Translation>> translate(const std::vector<std::string>& texts) const;

  /// The best translation of one text.
  Translation translate(const std::string& text) const;

  /// The attention of given translations, one matrix [target words, source words] a pair: how the
  /// model would have aligned them had it written them itself (teacher forcing).
  /// Throws: c10::ValueError unless there are as many targets as sources, or for a text longer than
  ///         the model has positions.
  std::vector<torch::Tensor> align(const std::vector<std::string>& sources,
                                   const std::vector<std::string>& targets) const;

  const SubwordTokenizer& tokenizer() const { return tokenizer_; }
  TranslationModel& model() const { return *model_; }
  const TranslatorOptions& options() const { return options_; }

 private:
  struct Threads;
  Translator(std::shared_ptr<TranslationModel> model, SubwordTokenizer tokenizer,
             const TranslatorOptions& options, torch::Device device,
             const std::optional<BeamSearchOptions>& of_folder);

  std::shared_ptr<TranslationModel> model_;
  SubwordTokenizer tokenizer_;
  TranslatorOptions options_;
  BeamSearchOptions search_;
  torch::Device device_;
  std::shared_ptr<Threads> threads_;
};

}  // namespace attend
