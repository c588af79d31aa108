// What device code is written with, so that it is also plain C++: tests run it on the host, a block's
// threads one after the other (tests/kernels/cuda_block.h).
//
// A `Block` is what a thread knows of its block:
//   thread()    its index in [0, kThreads)
//   index()     the block's
//   sync()      waits for all threads of the block, which then see what the others wrote
//   any(b)      the same, and whether b is true in one of them
//   shuffle_xor(x, mask)   x of the thread of the same 32 whose index differs in the bits of `mask`
// All threads of a block, for shuffle_xor of the 32, take part in each of the last three.
#pragma once

#include <cmath>
#include <cstdint>

#ifdef __CUDACC__
#define ATTEND_DEVICE __device__ __forceinline__
#define ATTEND_UNROLL _Pragma("unroll")
#define ATTEND_UNROLL_BY_4 _Pragma("unroll 4")
#define ATTEND_NO_UNROLL _Pragma("unroll 1")
#else
#define ATTEND_DEVICE inline
#define ATTEND_UNROLL
#define ATTEND_UNROLL_BY_4
#define ATTEND_NO_UNROLL
#endif

namespace attend::kernels::cuda {

ATTEND_DEVICE float exp_of(float x) { return expf(x); }
ATTEND_DEVICE double exp_of(double x) { return exp(x); }
ATTEND_DEVICE float multiply_add(float x, float y, float z) { return fmaf(x, y, z); }
ATTEND_DEVICE double multiply_add(double x, double y, double z) { return fma(x, y, z); }

// x / y, where float32 may be two units in the last place off. y is below 2^126, or infinite.
ATTEND_DEVICE float quotient(float x, float y) {
#ifdef __CUDA_ARCH__
  return __fdividef(x, y);
#else
  return x / y;
#endif
}
ATTEND_DEVICE double quotient(double x, double y) { return x / y; }

// The upper half of a product.
ATTEND_DEVICE uint32_t multiply_high(uint32_t x, uint32_t y) {
  return static_cast<uint32_t>((uint64_t{x} * y) >> 32U);
}

// The number that kernels/cpu/dropout.h draws for an element.
ATTEND_DEVICE uint32_t dropout_number(uint64_t seed, int64_t element) {
  constexpr int64_t kBlock = 1024, kCounters = kBlock / 4;
  const auto block = static_cast<uint64_t>(element / kBlock);
  const auto within = element % kBlock;
  auto c0 = static_cast<uint32_t>(within % kCounters), c1 = static_cast<uint32_t>(block);
  auto c2 = static_cast<uint32_t>(block >> 32U), c3 = uint32_t{0};
  auto key0 = static_cast<uint32_t>(seed), key1 = static_cast<uint32_t>(seed >> 32U);
  for (int round = 0; round < 10; ++round) {
    const auto high0 = multiply_high(c0, 0xD2511F53U), high1 = multiply_high(c2, 0xCD9E8D57U);
    const auto low0 = c0 * 0xD2511F53U, low1 = c2 * 0xCD9E8D57U;
    c0 = high1 ^ c1 ^ key0;
    c1 = low1;
    c2 = high0 ^ c3 ^ key1;
    c3 = low0;
    key0 += 0x9E3779B9U;
    key1 += 0xBB67AE85U;
  }
  const auto word = within / kCounters;
  return word == 0 ? c0 : word == 1 ? c1 : word == 2 ? c2 : c3;
}

}  // namespace attend::kernels::cuda
