#include "attend/training/batch_threads.h"

#include <algorithm>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "detail/check.h"

namespace attend {

struct BatchThreads::State {
  State(const torch::nn::Module& module, size_t shares) : gradients(shares), losses(shares) {
    for (const auto& parameter : module.parameters()) {
      if (parameter.requires_grad()) parameters.push_back(parameter);
    }
  }

  void work(size_t share, int threads);
  void compute(size_t share);

  std::vector<torch::Tensor> parameters;
  std::vector<torch::autograd::variable_list> gradients;  // [share][parameter], undefined: 0
  std::vector<torch::Tensor> losses;                      // [share]

  // The task of a round. Everything below is guarded by `mutex`.
  std::mutex mutex;
  std::condition_variable begins, ends;
  const std::function<torch::Tensor(int64_t)>* loss = nullptr;
  uint64_t round = 0;
  size_t busy = 0;
  bool stops = false;
  std::vector<std::exception_ptr> failures;
  std::vector<std::jthread> threads;  // last: they end before what they use
};

void BatchThreads::State::work(size_t share, int own_threads) {
  // A thread takes LibTorch's present number when it first asks for one: that must have been.
  torch::get_num_threads();
  torch::set_num_threads(own_threads);
  uint64_t done = 0;
  std::unique_lock lock(mutex);
  --busy;
  ends.notify_one();
  for (;;) {
    begins.wait(lock, [&] { return stops || round != done; });
    if (stops) return;
    done = round;
    lock.unlock();
    std::exception_ptr failure;
    try {
      compute(share);
    } catch (...) {
      failure = std::current_exception();
    }
    lock.lock();
    failures[share] = failure;
    --busy;
    ends.notify_one();
  }
}

void BatchThreads::State::compute(size_t share) {
  const auto value = (*loss)(static_cast<int64_t>(share));
  if (!value.defined()) return;
  // Not backward(): all threads would add to the same gradients, in any order.
  gradients[share] = torch::autograd::grad({value}, parameters, /*grad_outputs=*/{},
                                           /*retain_graph=*/false, /*create_graph=*/false,
                                           /*allow_unused=*/true);
  losses[share] = value.detach();
}

BatchThreads::BatchThreads(const torch::nn::Module& module, int64_t shares, int64_t threads_each) {
  detail::check_positive("BatchThreads", "shares", shares);
  detail::check_positive("BatchThreads", "threads_each", threads_each);
  const auto count = static_cast<size_t>(shares);
  state_ = std::make_unique<State>(module, count);
  auto& s = *state_;
  s.failures.resize(count);
  s.busy = count;
  const int total = torch::get_num_threads();
  for (size_t share = 0; share < count; ++share) {
    s.threads.emplace_back(
        [&s, share, threads_each] { s.work(share, static_cast<int>(threads_each)); });
  }
  std::unique_lock lock(s.mutex);
  s.ends.wait(lock, [&] { return s.busy == 0; });
  // LibTorch's number is a thread's own, and also what threads that are yet to come begin with.
  torch::set_num_threads(total);
}

BatchThreads::~BatchThreads() {
  const std::scoped_lock lock(state_->mutex);
  state_->stops = true;
  state_->begins.notify_all();
}

int64_t BatchThreads::shares() const { return static_cast<int64_t>(state_->losses.size()); }

torch::Tensor BatchThreads::backward(const std::function<torch::Tensor(int64_t share)>& loss) {
  auto& s = *state_;
  for (auto& gradients : s.gradients) gradients.clear();
  for (auto& value : s.losses) value.reset();
  {
    std::unique_lock lock(s.mutex);
    s.failures.assign(s.failures.size(), nullptr);
    s.loss = &loss;
    s.busy = s.threads.size();
    ++s.round;
    s.begins.notify_all();
    s.ends.wait(lock, [&] { return s.busy == 0; });
    s.loss = nullptr;
    for (const auto& failure : s.failures) {
      if (failure) std::rethrow_exception(failure);
    }
  }

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
