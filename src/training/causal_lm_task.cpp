#include "attend/training/causal_lm_task.h"

#include <nlohmann/json.hpp>

#include "attend/checkpoint/model_folder.h"
#include "detail/check.h"

namespace attend {
namespace {

constexpr auto kTask = "CausalLMTask";
constexpr int64_t kIgnored = -100;  // a label that counts nothing

int64_t terms_of(const TokenPair& text) { return static_cast<int64_t>(text.target.size()); }

}  // namespace

CausalLMTask::CausalLMTask(CausalLM model, const std::vector<std::vector<int64_t>>& train,
                           const CausalLMTaskOptions& options,
                           const std::vector<std::vector<int64_t>>& valid)
    : model_(std::move(model)), options_(options), train_(checked(train)), valid_(checked(valid)) {
  detail::check_positive(kTask, "batch_tokens", options.batch_tokens);
  detail::check_probability(kTask, "label_smoothing", options.label_smoothing);
  TORCH_CHECK_VALUE(!train_.empty(), kTask, ": expected texts to train on, got none");
}

std::vector<TokenPair> CausalLMTask::checked(const std::vector<std::vector<int64_t>>& texts) const {
  const auto longest = model_->max_target_length();
  std::vector<TokenPair> pairs;
  pairs.reserve(texts.size());
  for (const auto& text : texts) {
    const auto length = static_cast<int64_t>(text.size());
    TORCH_CHECK_VALUE(length >= 1 && length <= longest, kTask, ": expected texts of 1 to ", longest,
                      " tokens, got one of ", length);
    pairs.push_back({{}, text});
  }
  return pairs;
}

BatchPlan CausalLMTask::plan(uint64_t epoch, size_t /*pool*/) {
  return plan_batches(train_, options_.batch_tokens, options_.seed, epoch);
}

std::vector<torch::Tensor> CausalLMTask::tensors(const std::vector<TokenPair>& texts,
                                                 const std::vector<size_t>& chosen) const {
  const auto bos = model_->special_tokens().start_id;
  const auto batch = make_batch(texts, chosen, bos, kIgnored);
  // Causality hides the padding, whatever its id.
  return {batch.target_input.masked_fill(batch.target_input.eq(kIgnored), bos), batch.target};
}

std::vector<torch::Tensor> CausalLMTask::collate(const std::vector<size_t>& examples) {
  return tensors(train_, examples);
}

int64_t CausalLMTask::loss_terms(size_t example) const { return terms_of(train_[example]); }

torch::Tensor CausalLMTask::loss_sum(const std::vector<torch::Tensor>& batch) {
  return model_->loss_sum(batch[0], batch[1], kIgnored, options_.label_smoothing);
}

std::vector<std::string> CausalLMTask::metrics() const {
  return valid_.empty() ? std::vector<std::string>() : std::vector<std::string>{"cross-entropy"};
}

std::vector<std::pair<std::string, double>> CausalLMTask::scores() {
  const torch::InferenceMode inference;
  const auto device = model_->parameters().front().device();
  torch::Tensor sum;  // on the device: reading each batch's would wait for it
  int64_t terms = 0;
  for (const auto& chosen : plan_batches_in_order(valid_, options_.batch_tokens)) {
    const auto batch = tensors(valid_, chosen);
    const auto loss =
        model_->loss_sum(batch[0].to(device), batch[1].to(device), kIgnored).to(torch::kDouble);
    sum = sum.defined() ? sum + loss : loss;
  }
  for (const auto& text : valid_) terms += terms_of(text);
  return {{"cross-entropy", sum.item<double>() / static_cast<double>(terms)}};
}

void CausalLMTask::save(const std::filesystem::path& folder) { save_model(folder, *model_); }

std::string CausalLMTask::identity() const {
  return nlohmann::json{{"corpus", fingerprint(train_)},
                        {"batch_tokens", options_.batch_tokens},
                        {"order seed", options_.seed}}
      .dump();
}

}  // namespace attend
