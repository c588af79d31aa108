#pragma once

#include <c10/util/FunctionRef.h>

#include <atomic>
#include <cstdint>
#include <optional>

namespace attend::detail {

/// Calls f(first, last) for parts of [0, count), each of `grain` or more where there are as many,
/// on LibTorch's own threads.
///
/// at::parallel_for is inline, and it runs on one thread unless the caller's compiler has the same
/// OpenMP as LibTorch's had. This one runs the loop that is compiled into LibTorch.
void parallel_for(int64_t count, int64_t grain, c10::function_ref<void(int64_t, int64_t)> f);

/// Calls work(thread, take) for each of `threads`. take() gives the tasks [0, count) one by one to
/// whichever thread asks, in ascending order, then nothing: for tasks that differ in length, and for
/// processors whose cores differ in speed, as those of virtual machines do.
template <typename Work>
void share_tasks(int64_t count, int64_t threads, const Work& work) {
  std::atomic<int64_t> next = 0;
  const auto take = [&]() -> std::optional<int64_t> {
    const auto task = next.fetch_add(1, std::memory_order_relaxed);
    return task < count ? std::optional(task) : std::nullopt;
  };
  parallel_for(threads, 1, [&](int64_t first, int64_t last) {
    for (auto thread = first; thread < last; ++thread) work(thread, take);
  });
}

}  // namespace attend::detail
