#include "attend/training/batch_threads.h"

#include <utility>
#include <vector>

#include "detail/check.h"
#include "detail/thread_team.h"

namespace attend {

struct BatchThreads::State {
  State(const torch::nn::Module& module, int64_t shares, int64_t threads_each)
      : gradients(static_cast<size_t>(shares)),
        losses(static_cast<size_t>(shares)),
        team(shares, threads_each) {
    for (const auto& parameter : module.parameters()) {
      if (parameter.requires_grad()) parameters.push_back(parameter);
    }
  }

  std::vector<torch::Tensor> parameters;
  std::vector<torch::autograd::variable_list> gradients;  // [share][parameter], undefined: 0
  std::vector<torch::Tensor> losses;                      // [share]
  detail::ThreadTeam team;
};

BatchThreads::BatchThreads(const torch::nn::Module& module, int64_t shares, int64_t threads_each) {
  detail::check_positive("BatchThreads", "shares", shares);
  detail::check_positive("BatchThreads", "threads_each", threads_each);
  state_ = std::make_unique<State>(module, shares, threads_each);
}

BatchThreads::~BatchThreads() = default;

int64_t BatchThreads::shares() const { return static_cast<int64_t>(state_->losses.size()); }

torch::Tensor BatchThreads::backward(const std::function<torch::Tensor(int64_t share)>& loss) {
  auto& s = *state_;
  for (auto& gradients : s.gradients) gradients.clear();
  for (auto& value : s.losses) value.reset();
  s.team.run([&](int64_t part) {
    const auto share = static_cast<size_t>(part);
    const auto value = loss(part);
    if (!value.defined()) return;
    // Not backward(): all threads would add to the same gradients, in any order.
    s.gradients[share] = torch::autograd::grad({value}, s.parameters, /*grad_outputs=*/{},
                                               /*retain_graph=*/false, /*create_graph=*/false,
                                               /*allow_unused=*/true);
    s.losses[share] = value.detach();
  });

  const torch::NoGradGuard no_grad;
  torch::Tensor sum;
  std::vector<torch::Tensor> total(s.parameters.size());
  std::vector<size_t> contributions(s.parameters.size());
  for (size_t share = 0; share < s.losses.size(); ++share) {
    if (!s.losses[share].defined()) continue;
    sum = sum.defined() ? sum + s.losses[share] : s.losses[share];
    std::vector<size_t> both;
    std::vector<torch::Tensor> to, from;
    for (size_t i = 0; i < total.size(); ++i) {
      const auto& gradient = s.gradients[share][i];
      if (!gradient.defined()) continue;
      if (contributions[i]++ == 0) {
        total[i] = gradient;
        continue;
      }
      both.push_back(i);
      to.push_back(total[i]);
      from.push_back(gradient);
    }
    if (both.empty()) continue;
    auto sums = at::_foreach_add(to, from);
    for (size_t i = 0; i < both.size(); ++i) total[both[i]] = std::move(sums[i]);
  }
  for (size_t i = 0; i < total.size(); ++i) {
    // Autograd may give several parameters one tensor, or views of one.
    if (contributions[i] == 1) total[i] = total[i].clone(torch::MemoryFormat::Contiguous);
    s.parameters[i].mutable_grad() = std::move(total[i]);
  }
  for (auto& gradients : s.gradients) gradients.clear();
  return sum.defined() ? sum : torch::zeros({});
}

}  // namespace attend
