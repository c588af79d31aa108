#include "kernels/cpu/dropout.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/dropout.cpp"
#include "kernels/cpu/targets-inl.h"

HWY_BEFORE_NAMESPACE();
namespace attend::kernels::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

// The low and the high half of the 64-bit products of a vector with one factor.
template <class D, class V>
HWY_INLINE void multiply_wide(D d, V x, V factor, V& low, V& high) {
#if HWY_TARGET == HWY_SCALAR
  const auto wide = uint64_t{hn::GetLane(x)} * hn::GetLane(factor);
  low = hn::Set(d, static_cast<uint32_t>(wide));
  high = hn::Set(d, static_cast<uint32_t>(wide >> 32U));
#else
  const hn::Repartition<uint64_t, D> d64;
  const auto even = hn::BitCast(d, hn::MulEven(x, factor));
  const auto odd =
      hn::BitCast(d, hn::MulEven(hn::BitCast(d, hn::ShiftRight<32>(hn::BitCast(d64, x))), factor));
  low = hn::OddEven(hn::BitCast(d, hn::ShiftLeft<32>(hn::BitCast(d64, odd))), even);
  high = hn::OddEven(odd, hn::BitCast(d, hn::ShiftRight<32>(hn::BitCast(d64, even))));
#endif
}

void philox(uint64_t seed, uint64_t block, uint32_t* HWY_RESTRICT numbers) {
  constexpr int kRounds = 10;
  constexpr int64_t kCounters = kDropoutBlock / 4;
  const hn::CappedTag<uint32_t, 16> d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto factor0 = hn::Set(d, 0xD2511F53U), factor1 = hn::Set(d, 0xCD9E8D57U);
  const auto block_low = hn::Set(d, static_cast<uint32_t>(block));
  const auto block_high = hn::Set(d, static_cast<uint32_t>(block >> 32U));
  for (int64_t i = 0; i < kCounters; i += lanes) {
    auto c0 = hn::Iota(d, static_cast<uint32_t>(i)), c1 = block_low, c2 = block_high;
    auto c3 = hn::Zero(d);
    auto key0 = static_cast<uint32_t>(seed), key1 = static_cast<uint32_t>(seed >> 32U);
    for (int round = 0; round < kRounds; ++round) {
      auto low0 = c0, high0 = c0, low1 = c2, high1 = c2;
      multiply_wide(d, c0, factor0, low0, high0);
      multiply_wide(d, c2, factor1, low1, high1);
      c0 = hn::Xor(hn::Xor(high1, c1), hn::Set(d, key0));
      c1 = low1;
      c2 = hn::Xor(hn::Xor(high0, c3), hn::Set(d, key1));
      c3 = low0;
      key0 += 0x9E3779B9U;
      key1 += 0xBB67AE85U;
    }
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
