#pragma once

#include <cstdint>

namespace attend::kernels {

/// The upper half of a float.
struct BFloat16 {
  uint16_t bits;
};

}  // namespace attend::kernels
