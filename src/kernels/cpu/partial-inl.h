// The first elements of a vector, where a row ends within one. Included once for each instruction
// set that Highway compiles for, hence this guard.
#if defined(ATTEND_KERNELS_CPU_PARTIAL_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef ATTEND_KERNELS_CPU_PARTIAL_INL_H
#undef ATTEND_KERNELS_CPU_PARTIAL_INL_H
#else
#define ATTEND_KERNELS_CPU_PARTIAL_INL_H
#endif

#include <hwy/highway.h>

#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace attend::kernels::HWY_NAMESPACE {
namespace {

// The `count` elements at `from`, or as many as a vector has, then zeros. hn::MaskedLoad reads a
// whole, aligned vector where the instruction set cannot mask a load: before AVX2, and on ARM.
template <class D, typename T = hwy::HWY_NAMESPACE::TFromD<D>>
HWY_INLINE hwy::HWY_NAMESPACE::Vec<D> load_first(D d, const T* from, int64_t count) {
  namespace hn = hwy::HWY_NAMESPACE;
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX2
  return hn::MaskedLoad(hn::FirstN(d, static_cast<size_t>(count)), d, from);
#else
  constexpr auto kLanes = static_cast<int64_t>(hn::MaxLanes(D()));
  HWY_ALIGN T elements[kLanes] = {};
  for (int64_t i = 0; i < count && i < kLanes; ++i) elements[i] = from[i];
  return hn::Load(d, elements);
#endif
}

}  // namespace
}  // namespace attend::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // once for each instruction set
