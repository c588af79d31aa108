#pragma once

#include <cstdint>

namespace attend::benchmarks {

/// What main begins with. Freed memory is kept, as attend's programs keep it: else what new memory
/// costs is measured, for attend and its peers alike, and chance decides whether it is new. With
/// ATTEND_BENCHMARK_DEFAULT_MALLOC in the environment it is returned as by default. With
/// ATTEND_BENCHMARK_AVX2 in the environment, attend and multiply_add use no wider vectors; LibTorch's
/// own are limited by ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2.
void prepare();

/// Multiply-adds of float32 from registers, by the widest vectors there are: how many of them so
/// many rounds are.
int64_t multiply_add(int64_t rounds);

/// Reads memory in four long streams, the way in which it is read fastest; returns the sum.
float read_memory(const float* from, int64_t count);

}  // namespace attend::benchmarks
