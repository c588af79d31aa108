// Random numbers by counters. Included once for each instruction set that Highway compiles for, hence
// this guard.
#if defined(ATTEND_KERNELS_CPU_PHILOX_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef ATTEND_KERNELS_CPU_PHILOX_INL_H
#undef ATTEND_KERNELS_CPU_PHILOX_INL_H
#else
#define ATTEND_KERNELS_CPU_PHILOX_INL_H
#endif

#include <hwy/highway.h>

#include <cstdint>

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

// Counters become random numbers, in place: Philox4x32. From 7 rounds on it passes all tests of
// randomness; 10 are its authors' default.
// Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011, section 5.
template <int kRounds, class D, class V>
HWY_INLINE void philox4x32(D d, uint64_t seed, V& c0, V& c1, V& c2, V& c3) {
  const auto factor0 = hn::Set(d, 0xD2511F53U), factor1 = hn::Set(d, 0xCD9E8D57U);
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
}

}  // namespace
}  // namespace attend::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // once for each instruction set
