#pragma once

#include <cstdint>

namespace attend::benchmarks {

/// Multiply-adds of float32 from registers, by the widest vectors there are: how many of them so
/// many rounds are.
int64_t multiply_add(int64_t rounds);

/// Reads memory in four long streams, the way in which it is read fastest; returns the sum.
float read_memory(const float* from, int64_t count);

}  // namespace attend::benchmarks
