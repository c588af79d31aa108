// The vectors of all kernels, and sizes in them. Included once for each instruction set that Highway
// compiles for, hence this guard.
#if defined(ATTEND_KERNELS_CPU_VECTORS_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef ATTEND_KERNELS_CPU_VECTORS_INL_H
#undef ATTEND_KERNELS_CPU_VECTORS_INL_H
#else
#define ATTEND_KERNELS_CPU_VECTORS_INL_H
#endif

#include <hwy/highway.h>

#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace attend::kernels::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

template <typename T>
using Vectors = hn::CappedTag<T, 64 / sizeof(T)>;

template <typename T>
HWY_INLINE int64_t lanes_of() {
  return static_cast<int64_t>(hn::Lanes(Vectors<T>()));
}

// Not std::min, std::max and std::fill: a template of the standard library, instantiated here, would
// be compiled for this instruction set and might be the copy that the linker keeps for the whole
// program.
HWY_INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
HWY_INLINE int64_t most(int64_t a, int64_t b) { return a < b ? b : a; }

template <typename T>
HWY_INLINE void fill(T* row, int64_t begin, int64_t end, T value) {
  for (auto i = begin; i < end; ++i) row[i] = value;
}

template <typename T>
HWY_INLINE int64_t rounded_up(int64_t count) {
  const auto lanes = lanes_of<T>();
  return (count + lanes - 1) / lanes * lanes;
}
template <typename T>
HWY_INLINE int64_t rounded_down(int64_t count) {
  return count - count % lanes_of<T>();
}

}  // namespace
}  // namespace attend::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // once for each instruction set
