#include "detail/thread_team.h"

#include <torch/torch.h>

#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "detail/check.h"

namespace attend::detail {

struct ThreadTeam::State {
  void work(size_t part, int own_threads);

  // All is guarded by `mutex`.
  std::mutex mutex;
  std::condition_variable begins, ends;
  const std::function<void(int64_t)>* task = nullptr;
  uint64_t round = 0;
  size_t busy = 0;
  bool stops = false;
  std::vector<std::exception_ptr> failures;
  std::vector<std::jthread> threads;  // last: they end before what they use
};

void ThreadTeam::State::work(size_t part, int own_threads) {
  // A thread is given LibTorch's current number when it first asks, which would undo an earlier set.
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
      (*task)(static_cast<int64_t>(part));
    } catch (...) {
      failure = std::current_exception();
    }
    lock.lock();
    failures[part] = failure;
    --busy;
    ends.notify_one();
  }
}

ThreadTeam::ThreadTeam(int64_t size, int64_t threads_each) {
  check_positive("ThreadTeam", "size", size);
  check_positive("ThreadTeam", "threads_each", threads_each);
  const auto count = static_cast<size_t>(size);
  state_ = std::make_unique<State>();
  auto& s = *state_;
  s.failures.resize(count);
  s.busy = count;
  const int total = torch::get_num_threads();
  for (size_t part = 0; part < count; ++part) {
    s.threads.emplace_back(
        [&s, part, threads_each] { s.work(part, static_cast<int>(threads_each)); });
  }
  std::unique_lock lock(s.mutex);
  s.ends.wait(lock, [&] { return s.busy == 0; });
  // Setting LibTorch's number affects this thread and all threads that start later.
  torch::set_num_threads(total);
}

ThreadTeam::~ThreadTeam() {
  const std::scoped_lock lock(state_->mutex);
  state_->stops = true;
  state_->begins.notify_all();
}

int64_t ThreadTeam::size() const { return static_cast<int64_t>(state_->threads.size()); }

void ThreadTeam::run(const std::function<void(int64_t)>& task) {
  auto& s = *state_;
  std::unique_lock lock(s.mutex);
  s.failures.assign(s.failures.size(), nullptr);
  s.task = &task;
  s.busy = s.threads.size();
  ++s.round;
  s.begins.notify_all();
  s.ends.wait(lock, [&] { return s.busy == 0; });
  s.task = nullptr;
  for (const auto& failure : s.failures) {
    if (failure) std::rethrow_exception(failure);
  }
}

}  // namespace attend::detail
