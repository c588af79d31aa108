#pragma once

#include <c10/util/FunctionRef.h>

#include <cstdint>

namespace attend::detail {

/// Calls f(first, last) for parts of [0, count), each of `grain` or more where there are as many,
/// on LibTorch's own threads.
///
/// at::parallel_for is inline, and it runs on one thread unless the caller's compiler has the same
/// OpenMP as LibTorch's had. This one runs the loop that is compiled into LibTorch.
void parallel_for(int64_t count, int64_t grain, c10::function_ref<void(int64_t, int64_t)> f);

}  // namespace attend::detail
