#pragma once

#include <torch/torch.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "attend/data/parallel_text.h"
#include "attend/models/incremental_model.h"
#include "attend/text/subword_tokenizer.h"
#include "attend/training/trainer_options.h"

namespace attend::detail {

/// Scores a model on the validation pairs by the metrics of TrainerOptions.
class Scorer {
 public:
  Scorer(std::shared_ptr<TranslationModel> model, SubwordTokenizer tokenizer, ParallelText text,
         const TrainerOptions& options, torch::Device device);

  /// Whether there is anything to score.
  bool can_score() const;

  /// The score of each metric, in the options' order. The model must be in evaluation mode.
  std::vector<std::pair<std::string, double>> scores();

 private:
  double loss();  // nats, of all tokens
  std::vector<std::string> translations();

  std::shared_ptr<TranslationModel> model_;
  SubwordTokenizer tokenizer_;
  ParallelText text_;
  TrainerOptions options_;
  torch::Device device_;
  std::vector<TokenPair> pairs_;
  int64_t tokens_ = 0, words_ = 0;  // of the targets; `</s>` counts as a token
};

/// Whether the name is one of a metric.
bool is_metric(const std::string& name);

/// The names, for messages.
std::string metric_names();

bool is_better(const std::string& metric, double score, double best);

}  // namespace attend::detail
