#include "functional/finite.h"

#include <array>
#include <atomic>
#include <cstdint>

#include "detail/parallel.h"

namespace attend::functional {
namespace {

// Elements that are worth a thread of their own.
constexpr int64_t kElementsOfThread = 1 << 15;

// What NaN and infinities have in common: all bits of the exponent.
template <typename Bits>
bool row_is_finite(const Bits* row, int64_t size, Bits exponent) {
  Bits found = 0;
  for (int64_t i = 0; i < size; ++i) {
    found |= static_cast<Bits>((row[i] & exponent) == exponent);
  }
  return found == 0;
}

// Of memory without gaps, in whatever order its axes lie.
template <typename Bits>
bool all_are_finite(const Bits* data, int64_t size, Bits exponent) {
  std::atomic<bool> finite = true;
  detail::parallel_for(size, kElementsOfThread, [&](int64_t first, int64_t last) {
    if (!row_is_finite(data + first, last - first, exponent)) finite = false;
  });
  return finite;
}

template <typename Bits>
bool rows_are_finite(const torch::Tensor& x, Bits exponent) {
  if (x.is_non_overlapping_and_dense()) {
    return all_are_finite(static_cast<const Bits*>(x.const_data_ptr()), x.numel(), exponent);
  }
  std::array<int64_t, 4> sizes{1, 1, 1, 1}, strides{0, 0, 0, 0};
  for (int64_t d = 0; d < x.dim(); ++d) {
    const auto axis = static_cast<size_t>(4 - x.dim() + d);
    sizes[axis] = x.size(d);
    strides[axis] = x.stride(d);
  }
  const auto* data = static_cast<const Bits*>(x.const_data_ptr());
  std::atomic<bool> finite = true;
  detail::parallel_for(sizes[0] * sizes[1] * sizes[2], 1 + kElementsOfThread / (1 + sizes[3]),
                       [&](int64_t first, int64_t last) {
                         for (int64_t row = first; row < last; ++row) {
                           const auto at = row / (sizes[1] * sizes[2]) * strides[0] +
                                           row / sizes[2] % sizes[1] * strides[1] +
                                           row % sizes[2] * strides[2];
                           if (!row_is_finite(data + at, sizes[3], exponent)) finite = false;
                         }
                       });
  return finite;
}

}  // namespace

bool all_finite(const torch::Tensor& x) {
  if (x.numel() == 0) return true;
  TORCH_INTERNAL_ASSERT(x.is_cpu() && x.dim() <= 4, "all_finite");
  const bool has_rows =
      x.is_non_overlapping_and_dense() || x.dim() == 0 || x.size(-1) == 1 || x.stride(-1) == 1;
  const auto rows = has_rows ? x : x.detach().contiguous();
  switch (x.scalar_type()) {
    case torch::kDouble:
      return rows_are_finite<uint64_t>(rows, 0x7FF0000000000000U);
    case torch::kFloat:
      return rows_are_finite<uint32_t>(rows, 0x7F800000U);
    case torch::kHalf:
      return rows_are_finite<uint16_t>(rows, 0x7C00U);
    case torch::kBFloat16:
      return rows_are_finite<uint16_t>(rows, 0x7F80U);
    default:
      return rows.isfinite().all().item<bool>();
  }
}

}  // namespace attend::functional
