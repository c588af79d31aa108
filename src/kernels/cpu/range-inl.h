// Keys and queries [begin, end). Included once for each instruction set that Highway compiles for,
// hence this guard.
#if defined(ATTEND_KERNELS_CPU_RANGE_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef ATTEND_KERNELS_CPU_RANGE_INL_H
#undef ATTEND_KERNELS_CPU_RANGE_INL_H
#else
#define ATTEND_KERNELS_CPU_RANGE_INL_H
#endif

#include <hwy/highway.h>

#include <cstdint>

#include "kernels/cpu/vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace attend::kernels::HWY_NAMESPACE {
namespace {

// Keys or queries [begin, end).
struct Range {
  int64_t begin, end;

  bool is_empty() const { return begin >= end; }
  Range within(int64_t first, int64_t last) const {
    return {begin < first ? first : begin, end < last ? end : last};
  }
};

// Which keys the band of an attention lets query t see.
template <class A>
HWY_INLINE Range band_of(const A& a, int64_t t) {
  const auto diagonal = t + a.source - a.target;
  return {a.band_left < diagonal ? diagonal - a.band_left : 0,
          a.band_right < a.source - 1 - diagonal ? most(diagonal + a.band_right + 1, 0) : a.source};
}

}  // namespace
}  // namespace attend::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // once for each instruction set
