#include "kernels/cpu/dropout.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/dropout.cpp"
#include "kernels/cpu/targets-inl.h"
// After it, since it is compiled once for each set too.
#include "kernels/cpu/philox-inl.h"

HWY_BEFORE_NAMESPACE();
namespace attend::kernels::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

void philox(uint64_t seed, uint64_t block, uint32_t* HWY_RESTRICT numbers) {
  constexpr int64_t kCounters = kDropoutBlock / 4;
  const hn::CappedTag<uint32_t, 16> d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto block_low = hn::Set(d, static_cast<uint32_t>(block));
  const auto block_high = hn::Set(d, static_cast<uint32_t>(block >> 32U));
  for (int64_t i = 0; i < kCounters; i += lanes) {
    auto c0 = hn::Iota(d, static_cast<uint32_t>(i)), c1 = block_low, c2 = block_high;
    auto c3 = hn::Zero(d);
    philox4x32<10>(d, seed, c0, c1, c2, c3);
    hn::StoreU(c0, d, numbers + i);
    hn::StoreU(c1, d, numbers + kCounters + i);
    hn::StoreU(c2, d, numbers + 2 * kCounters + i);
    hn::StoreU(c3, d, numbers + 3 * kCounters + i);
  }
}

template <typename T>
HWY_INLINE void drop(const T* HWY_RESTRICT x, T* HWY_RESTRICT out, int64_t size, uint32_t threshold,
                     T scale, uint64_t seed, int64_t first, int64_t last) {
  HWY_ALIGN uint32_t numbers[kDropoutBlock];
  for (int64_t block = first; block < last; ++block) {
    philox(seed, static_cast<uint64_t>(block), numbers);
    const auto begin = block * kDropoutBlock, left = size - begin;
    const auto count = left < kDropoutBlock ? left : kDropoutBlock;
    for (int64_t i = 0; i < count; ++i) {
      // A product, so that what is not a number stays seen where it is dropped.
      out[begin + i] = x[begin + i] * (numbers[i] >= threshold ? scale : T{0});
    }
  }
}

// Highway's tables hold functions, not templates.
void drop_float(const float* x, float* out, int64_t size, uint32_t threshold, float scale,
                uint64_t seed, int64_t first, int64_t last) {
  drop(x, out, size, threshold, scale, seed, first, last);
}
void drop_double(const double* x, double* out, int64_t size, uint32_t threshold, double scale,
                 uint64_t seed, int64_t first, int64_t last) {
  drop(x, out, size, threshold, scale, seed, first, last);
}

}  // namespace
}  // namespace attend::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attend::kernels {
namespace {

HWY_EXPORT(philox);
HWY_EXPORT(drop_float);
HWY_EXPORT(drop_double);

}  // namespace

template <>
void dropout(const float* x, float* out, int64_t size, uint32_t threshold, float scale,
             uint64_t seed, int64_t first, int64_t last) {
  HWY_DYNAMIC_DISPATCH(drop_float)(x, out, size, threshold, scale, seed, first, last);
}
template <>
void dropout(const double* x, double* out, int64_t size, uint32_t threshold, double scale,
             uint64_t seed, int64_t first, int64_t last) {
  HWY_DYNAMIC_DISPATCH(drop_double)(x, out, size, threshold, scale, seed, first, last);
}

void philox_block(uint64_t seed, uint64_t block, uint32_t* numbers) {
  HWY_DYNAMIC_DISPATCH(philox)(seed, block, numbers);
}

}  // namespace attend::kernels
#endif  // HWY_ONCE
