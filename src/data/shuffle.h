#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <utility>
#include <vector>

namespace attend::detail {

/// The random generator of an epoch; the same numbers on every machine.
inline std::mt19937_64 random_engine(uint64_t seed, uint64_t epoch) {
  std::seed_seq seeds{static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32U),
                      static_cast<uint32_t>(epoch), static_cast<uint32_t>(epoch >> 32U)};
  return std::mt19937_64(seeds);
}

/// The same for a part of an epoch, such as a pool of pairs.
inline std::mt19937_64 random_engine(uint64_t seed, uint64_t epoch, uint64_t part) {
  std::seed_seq seeds{static_cast<uint32_t>(seed),  static_cast<uint32_t>(seed >> 32U),
                      static_cast<uint32_t>(epoch), static_cast<uint32_t>(epoch >> 32U),
                      static_cast<uint32_t>(part),  static_cast<uint32_t>(part >> 32U)};
  return std::mt19937_64(seeds);
}

/// Fisher-Yates shuffle. std::shuffle and the standard distributions differ between standard
/// libraries; the engine does not. The bias of the modulo is below 2^-32 for any corpus that fits
/// in memory.
inline void shuffle(std::vector<size_t>& values, std::mt19937_64& random) {
  for (size_t i = values.size(); i > 1; --i) {
    std::swap(values[i - 1], values[static_cast<size_t>(random() % i)]);
  }
}

}  // namespace attend::detail
