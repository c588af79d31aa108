#include "training/batch_gradients.h"

#include <algorithm>

#include "attend/functional/dropout.h"
#include "training/autocast_scope.h"
#include "training/generator_scope.h"

namespace attend::detail {

int64_t batch_parts(const TrainingTask& task, const TrainingOptions& options, torch::Device device,
                    int64_t processes) {
  constexpr int64_t kLeastTokens = 512;
  // The gradients of several processes are sent while the backward pass goes on, in one thread.
  if (!device.is_cpu() || processes > 1) return 1;
  if (options.batch_shares > 0) return options.batch_shares;
  return std::clamp<int64_t>(task.batch_tokens() / kLeastTokens, 1, torch::get_num_threads());
}

BatchGradients::BatchGradients(TrainingTask& task, const TrainingOptions& options,
                               torch::Device device, const WorkerGroup& workers)
    : task_(&task),
      precision_(options.precision),
      seed_(options.seed),
      device_(device),
      rank_(workers.rank()) {
  const auto parts = batch_parts(task, options, device, workers.size());
  if (parts > 1) {
    threads_.emplace(task.module(), parts, std::max<int64_t>(1, torch::get_num_threads() / parts));
  } else {
    reducer_.emplace(workers, task.module());
  }
}

torch::Tensor BatchGradients::mean_loss(const BatchShare& share, size_t part) {
  std::vector<torch::Tensor> tensors;
  for (const auto& tensor : share.parts[part]) {
    tensors.push_back(tensor.to(device_, /*non_blocking=*/true));
  }
  const AutocastScope scope(precision_, device_.type());
  return task_->loss_sum(tensors) / static_cast<double>(share.loss_terms);
}

torch::Tensor BatchGradients::backward(const BatchShare& share, int64_t update) {
  const auto terms = static_cast<double>(share.loss_terms);
  const GeneratorScope generators(seed_of_update(seed_, update, rank_), device_);
  if (threads_) {
    return terms * threads_->backward([&](int64_t part) {
      if (part >= static_cast<int64_t>(share.parts.size())) return torch::Tensor();
      const functional::DropoutSeed own_random_numbers(seed_of_update(seed_, update, part));
      return mean_loss(share, static_cast<size_t>(part));
    });
  }
  auto loss = mean_loss(share, 0);
  if (!share.counts) loss = loss * 0.0;
  reducer_->backward(loss);
  return terms * loss.detach();
}

}  // namespace attend::detail
