#pragma once

#include <cstdint>

namespace attend::kernels {

/// Blocks of this many elements draw their random numbers independently of each other.
constexpr int64_t kDropoutBlock = 1024;

/// out = x * scale where a random 32-bit number is at least `threshold`, else x * 0, for the
/// elements of blocks [first, last) of all `size`. The numbers are a function of `seed` and the
/// element's index alone: not of the instruction set, and not of how the blocks are divided among
/// threads.
///
/// Source: Philox4x32-10; Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
template <typename T>
void dropout(const T* x, T* out, int64_t size, uint32_t threshold, T scale, uint64_t seed,
             int64_t first, int64_t last);

/// The random numbers of one block, kDropoutBlock of them: word w of counter (i, block, 0, 0) is
/// number w * kDropoutBlock / 4 + i.
void philox_block(uint64_t seed, uint64_t block, uint32_t* numbers);

}  // namespace attend::kernels
