#pragma once

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "kernels/cpu/bfloat16.h"

namespace attend::kernels_test {

// Numbers that start at a multiple of 64 bytes, as LibTorch's do.
template <typename T>
class Numbers {
 public:
  Numbers() = default;
  explicit Numbers(int64_t size, T value = T{})
      : lines_(static_cast<size_t>((size + kLine - 1) / kLine)), size_(size) {
    for (int64_t i = 0; i < size; ++i) (*this)[i] = value;
  }

  T* data() { return reinterpret_cast<T*>(lines_.data()); }
  int64_t size() const { return size_; }
  void shorten(int64_t size) { size_ = size; }
  T& operator[](int64_t i) { return data()[i]; }

 private:
  static constexpr int64_t kLine = 64 / sizeof(T);
  struct alignas(64) Line {
    T numbers[kLine];
  };

  std::vector<Line> lines_;
  int64_t size_ = 0;
};

// To the nearest, ties to even.
inline float rounded_to_bfloat16(float x) {
  if (std::isnan(x)) return x;
  const auto bits = std::bit_cast<uint32_t>(x);
  return std::bit_cast<float>((bits + 0x7FFFU + (bits >> 16U & 1U)) & 0xFFFF0000U);
}

// Of what is stored, and back.
template <typename T>
double value_of(T x) {
  return double{x};
}
template <>
inline double value_of(kernels::BFloat16 x) {
  return std::bit_cast<float>(uint32_t{x.bits} << 16U);
}
template <typename T>
T number_of(double x) {
  return static_cast<T>(x);
}
template <>
inline kernels::BFloat16 number_of(double x) {
  const float rounded = rounded_to_bfloat16(static_cast<float>(x));
  return {static_cast<uint16_t>(std::bit_cast<uint32_t>(rounded) >> 16U)};
}

// Half of the distance between 1 and the next number.
template <typename T>
inline constexpr double kPrecision = std::numeric_limits<T>::epsilon() / 2;
template <>
inline constexpr double kPrecision<kernels::BFloat16> = 0x1p-8;

template <typename T>
Numbers<T> normal(int64_t size, unsigned seed, double deviation = 1.0) {
  std::mt19937 random(seed);
  std::normal_distribution<double> distribution(0.0, deviation);
  Numbers<T> result(size);
  for (int64_t i = 0; i < size; ++i) result[i] = number_of<T>(distribution(random));
  return result;
}

// `found` is the rounded `expected`: within `units` of T's precision, relative to 1 or to what is
// expected, whichever is more; NaN where that is NaN.
template <typename T>
void expect_near(Numbers<T>& found, const std::vector<double>& expected, double units,
                 const char* what) {
  ASSERT_EQ(found.size(), static_cast<int64_t>(expected.size())) << what;
  for (int64_t i = 0; i < found.size(); ++i) {
    const double x = value_of(found[i]), y = expected[static_cast<size_t>(i)];
    const bool is_same = std::isnan(y) ? std::isnan(x)
                         : std::isinf(y)
                             ? x == y
                             : std::abs(x - y) <= units * kPrecision<T> * (1 + std::abs(y));
    ASSERT_TRUE(is_same) << what << "[" << i << "]: expected " << y << ", got " << x;
  }
}

// Philox4x32 by its definition, one word of one counter.
// Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011, section 3.3.
inline uint32_t philox_word(int rounds, uint64_t seed, std::vector<uint32_t> counter, int word) {
  auto key0 = static_cast<uint32_t>(seed), key1 = static_cast<uint32_t>(seed >> 32U);
  for (int round = 0; round < rounds; ++round) {
    const auto x = uint64_t{0xD2511F53} * counter[0], y = uint64_t{0xCD9E8D57} * counter[2];
    counter = {static_cast<uint32_t>(y >> 32U) ^ counter[1] ^ key0, static_cast<uint32_t>(y),
               static_cast<uint32_t>(x >> 32U) ^ counter[3] ^ key1, static_cast<uint32_t>(x)};
    key0 += 0x9E3779B9U;
    key1 += 0xBB67AE85U;
  }
  return counter[static_cast<size_t>(word)];
}

// The number that attend::kernels::dropout draws for element `index`.
inline uint32_t dropout_number(uint64_t seed, uint64_t index) {
  const auto block = index / 1024, within = index % 1024;
  return philox_word(10, seed,
                     {static_cast<uint32_t>(within % 256), static_cast<uint32_t>(block),
                      static_cast<uint32_t>(block >> 32U), 0},
                     static_cast<int>(within / 256));
}

// The number of 16 bits that attention draws for a key and a row of [B, H, T]: 128 keys have 16
// counters of four words, of which the lower halves serve the first 64 keys.
inline uint32_t attention_number(uint64_t seed, uint64_t row, uint64_t key) {
  const auto block = key / 128, within = key % 128;
  const auto counter = static_cast<uint32_t>(block * 16 + within % 16);
  const auto word = philox_word(
      7, seed, {counter, static_cast<uint32_t>(row), static_cast<uint32_t>(row >> 32U), 0},
      static_cast<int>(within % 64 / 16));
  return within < 64 ? word & 0xFFFFU : word >> 16U;
}

}  // namespace attend::kernels_test
