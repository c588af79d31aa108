#pragma once

#include <cstdint>
#include <functional>
#include <memory>

namespace attend::detail {

/// Threads that wait for work and each do a part of it. Each uses `threads_each` of LibTorch's
/// threads for an operation; their number in the calling thread does not change.
class ThreadTeam {
 public:
  /// Throws: c10::ValueError unless both numbers are positive.
  ThreadTeam(int64_t size, int64_t threads_each);
  ~ThreadTeam();
  ThreadTeam(const ThreadTeam&) = delete;
  ThreadTeam& operator=(const ThreadTeam&) = delete;
  ThreadTeam(ThreadTeam&&) = delete;
  ThreadTeam& operator=(ThreadTeam&&) = delete;

  int64_t size() const;

  /// Calls task(i) for each i in [0, size) on thread i, and returns once all have ended. For one
  /// caller at a time.
  ///
  /// Throws: what the first part that failed threw.
  void run(const std::function<void(int64_t part)>& task);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace attend::detail
