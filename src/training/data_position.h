#pragma once

#include <cstddef>
#include <cstdint>

namespace attend::detail {

/// Where a run is in its data: everything that decides the next batch.
struct DataPosition {
  uint64_t epoch = 0;  // from 0
  size_t pool = 0;     // of the epoch
  size_t batch = 0;    // of the pool

  bool operator==(const DataPosition&) const = default;
};

}  // namespace attend::detail
