#pragma once

#include <cstdint>

namespace attend::functional {

/// A seed for one dropout on the CPU, from the innermost DropoutSeed of this thread or else from
/// LibTorch's generator.
uint64_t draw_dropout_seed();

}  // namespace attend::functional
