#pragma once

// For programs that train.

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "attend/models/causal_lm.h"
#include "attend/toolkit_export.h"
#include "attend/training/training_task.h"

namespace attend {

/// How a `CausalLMTask` makes batches, and what it minimises.
struct CausalLMTaskOptions {
  int64_t batch_tokens = 4096;   // of a batch, padding counted; > 0
  double label_smoothing = 0.0;  // [0, 1)
  uint64_t seed = 1;             // of the order
};

/// A language model that learns to continue texts, each from the model's bos_id on. The metric is
/// `cross-entropy`, of a token of the validation texts, in nats.
///
/// Throws: c10::ValueError without texts, for an empty text, and for one that the model cannot read;
///         and for options.
class ATTEND_TOOLKIT_API CausalLMTask : public TrainingTask {
 public:
  /// Texts as token ids, each with its end token.
  CausalLMTask(CausalLM model, const std::vector<std::vector<int64_t>>& train,
               const CausalLMTaskOptions& options = {},
               const std::vector<std::vector<int64_t>>& valid = {});

  torch::nn::Module& module() override { return *model_; }
  BatchPlan plan(uint64_t epoch, size_t pool) override;
  std::vector<torch::Tensor> collate(const std::vector<size_t>& examples) override;
  int64_t loss_terms(size_t example) const override;
  int64_t batch_tokens() const override { return options_.batch_tokens; }
  torch::Tensor loss_sum(const std::vector<torch::Tensor>& batch) override;
  std::vector<std::string> metrics() const override;
  std::vector<std::pair<std::string, double>> scores() override;
  /// A folder of Hugging Face's, as `save_model` writes it; without a tokenizer.
  void save(const std::filesystem::path& folder) override;
  std::string identity() const override;

 private:
  std::vector<TokenPair> checked(const std::vector<std::vector<int64_t>>& texts) const;
  std::vector<torch::Tensor> tensors(const std::vector<TokenPair>& texts,
                                     const std::vector<size_t>& chosen) const;

  CausalLM model_;
  CausalLMTaskOptions options_;
  std::vector<TokenPair> train_, valid_;  // the texts are the targets
};

}  // namespace attend
