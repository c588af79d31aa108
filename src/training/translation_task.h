#pragma once

#include <torch/torch.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "attend/models/incremental_model.h"
#include "attend/text/subword_tokenizer.h"
#include "attend/training/trainer_options.h"
#include "attend/training/training_task.h"
#include "training/pair_pools.h"
#include "training/scorer.h"

namespace attend::detail {

/// Translation of sentence pairs. An example is a pair of a pool.
class TranslationTask final : public TrainingTask {
 public:
  TranslationTask(std::shared_ptr<TranslationModel> model, SubwordTokenizer tokenizer,
                  PairPools train, const ParallelText& valid, const TrainerOptions& options,
                  torch::Device device);

  torch::nn::Module& module() override { return model_->module(); }
  BatchPlan plan(uint64_t epoch, size_t pool) override;
  size_t pools() const override { return pools_.pools(); }
  std::vector<torch::Tensor> collate(const std::vector<size_t>& examples) override;
  int64_t loss_terms(size_t example) const override;
  int64_t tokens(size_t example) const override;
  int64_t batch_tokens() const override { return options_.batch_tokens; }
  torch::Tensor loss_sum(const std::vector<torch::Tensor>& batch) override;
  std::vector<std::string> metrics() const override;
  std::vector<std::pair<std::string, double>> scores() override { return scorer_.scores(); }
  bool is_better(const std::string& metric, double score, double best) const override;
  void save(const std::filesystem::path& folder) override;
  std::string identity() const override;
  std::string describe(const std::vector<size_t>& examples) const override;

 private:
  std::shared_ptr<TranslationModel> model_;
  SubwordTokenizer tokenizer_;
  TrainerOptions options_;
  SpecialTokenIds special_;
  PairPools pools_;
  const std::vector<TokenPair>* pairs_ = nullptr;  // of the pool that was planned last
  Scorer scorer_;
};

}  // namespace attend::detail
