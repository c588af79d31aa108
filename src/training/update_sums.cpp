#include "training/update_sums.h"

#include <algorithm>

namespace attend::detail {

void UpdateSums::add(const BatchShare& share, const torch::Tensor& loss, const torch::Tensor& norm,
                     const torch::Tensor& skipped) {
  const auto is_finite = skipped.eq(0.0);
  const auto add_to = [](torch::Tensor& sum, const torch::Tensor& next) {
    sum = sum.defined() ? sum + next : next;
  };
  const auto if_finite = [&](const torch::Tensor& value) {
    return torch::where(is_finite, value.to(torch::kDouble), 0.0);
  };
  add_to(loss_, if_finite(loss));
  add_to(norm_, if_finite(norm));
  add_to(terms_, is_finite.to(torch::kDouble) * static_cast<double>(share.share_terms));
  add_to(skipped_, skipped);
  ++updates_;
  tokens_ += share.tokens;
}

double UpdateSums::tokens_per_second() const {
  if (updates_ == 0) return 0;
  const auto time = std::chrono::steady_clock::now() - since_;
  return static_cast<double>(tokens_) / std::max(std::chrono::duration<double>(time).count(), 1e-9);
}

void UpdateSums::fill(TrainingReport& report, const WorkerGroup& workers) const {
  // One copy, since the host waits for each.
  const auto all =
      torch::stack({loss_, terms_, skipped_.to(torch::kDouble), norm_.to(torch::kDouble)}).cpu();
  auto of_processes = all.narrow(0, 0, 2);
  workers.sum(of_processes);
  report.cost = all[0].item<double>() / std::max(all[1].item<double>(), 1.0);
  report.skipped = static_cast<int64_t>(all[2].item<double>());
  report.gradient_norm =
      all[3].item<double>() / static_cast<double>(std::max<int64_t>(updates_ - report.skipped, 1));
}

}  // namespace attend::detail
