#pragma once

#include <cstdint>

#include "attend/data/batches.h"

namespace attend::detail {

/// 64-bit FNV-1a hash of the ids of pairs and of where each side ends.
class Fingerprint {
 public:
  void add(const TokenPair& pair) {
    for (const auto* side : {&pair.source, &pair.target}) {
      mix(side->size());
      for (const auto id : *side) mix(static_cast<uint64_t>(id));
    }
  }
  uint64_t value() const { return hash_; }

 private:
  void mix(uint64_t value) { hash_ = (hash_ ^ value) * 1099511628211ULL; }

  uint64_t hash_ = 14695981039346656037ULL;
};

}  // namespace attend::detail
