#include "training/translation_task.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "attend/checkpoint/model_folder.h"
#include "training/model_identity.h"

namespace attend::detail {

TranslationTask::TranslationTask(std::shared_ptr<TranslationModel> model,
                                 SubwordTokenizer tokenizer, PairPools train,
                                 const ParallelText& valid, const TrainerOptions& options,
                                 torch::Device device)
    : model_(std::move(model)),
      tokenizer_(std::move(tokenizer)),
      options_(options),
      special_(model_->special_tokens()),
      pools_(std::move(train)),
      scorer_(model_, tokenizer_, valid, options, device) {}

BatchPlan TranslationTask::plan(uint64_t epoch, size_t pool) {
  pairs_ = &pools_.pool(options_.seed, epoch, pool);
  return plan_batches(*pairs_, options_.batch_tokens, options_.seed, pool_number(epoch, pool));
}

std::vector<torch::Tensor> TranslationTask::collate(const std::vector<size_t>& examples) {
  auto batch = make_batch(*pairs_, examples, special_.start_id, special_.pad_id);
  return {std::move(batch.source), std::move(batch.target_input), std::move(batch.target)};
}

int64_t TranslationTask::loss_terms(size_t example) const {
  return static_cast<int64_t>((*pairs_)[example].target.size());
}

int64_t TranslationTask::tokens(size_t example) const {
  return loss_terms(example) + static_cast<int64_t>((*pairs_)[example].source.size());
}

torch::Tensor TranslationTask::loss_sum(const std::vector<torch::Tensor>& batch) {
  return model_->loss_sum(batch[0], batch[1], batch[2], options_.label_smoothing);
}

std::vector<std::string> TranslationTask::metrics() const {
  return scorer_.can_score() ? options_.valid_metrics : std::vector<std::string>();
}

bool TranslationTask::is_better(const std::string& metric, double score, double best) const {
  return detail::is_better(metric, score, best);
}

void TranslationTask::save(const std::filesystem::path& folder) {
  save_model(folder, *model_);
  tokenizer_.save(folder);
}

std::string TranslationTask::identity() const {
  nlohmann::json identity{{"corpus", pools_.fingerprint()},
                          {"batch_tokens", options_.batch_tokens},
                          {"bpe_dropout", options_.bpe_dropout},
                          {"model", model_identity(*model_)}};
  // A side that dropout makes longer than that stays as it was.
  if (options_.bpe_dropout > 0) identity["max_length"] = filter_for(*model_, options_).max_length;
  return identity.dump();
}

std::string TranslationTask::describe(const std::vector<size_t>& examples) const {
  return fmt::format("first pair of {} has the target \"{}\"", examples.size(),
                     tokenizer_.decode_target((*pairs_)[examples.front()].target));
}

}  // namespace attend::detail
