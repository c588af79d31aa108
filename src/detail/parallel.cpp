#include "detail/parallel.h"

#include <ATen/ATen.h>
#include <ATen/TensorIterator.h>

namespace attend::detail {

void parallel_for(int64_t count, int64_t grain, c10::function_ref<void(int64_t, int64_t)> f) {
  if (count <= 0) return;
  if (count <= grain || at::get_num_threads() == 1) {
    f(0, count);
    return;
  }
  // A byte for each task, never read or written: the address of a part says which tasks it holds.
  const auto tasks = at::empty({count}, at::kByte);
  const auto* start = static_cast<const char*>(tasks.const_data_ptr());
  auto iterator =
      at::TensorIteratorConfig().add_owned_const_input(tasks).check_all_same_dtype(false).build();
  iterator.for_each(
      [&](char** data, const int64_t* /*strides*/, int64_t inner, int64_t outer) {
        const auto first = data[0] - start;
        f(first, first + inner * outer);
      },
      grain);
}

}  // namespace attend::detail
