#pragma once

#include <cstdint>

namespace attend::detail {

/// What SplitMix64 adds to its state for each number.
inline constexpr uint64_t kSplitMix64Step = 0x9E3779B97F4A7C15ULL;

/// The number that SplitMix64 draws from the state `x`; a good hash of `x`.
///
/// Source: Steele et al., 2014, doi:10.1145/2660193.2660195.
constexpr uint64_t splitmix64(uint64_t x) {
  x += kSplitMix64Step;
  x = (x ^ (x >> 30U)) * 0xBF58476D1CE4E5B9ULL;
  x = (x ^ (x >> 27U)) * 0x94D049BB133111EBULL;
  return x ^ (x >> 31U);
}

}  // namespace attend::detail
