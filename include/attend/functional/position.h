#pragma once

#include <torch/torch.h>

#include "attend/export.h"

namespace attend {

/// The two orders in which sinusoids are laid out along E.
enum class SinusoidLayout {
  kInterleaved,  // sin, cos, sin, cos, ...: Vaswani et al., 2017, section 3.5
  kHalves,       // all sines, then all cosines: Marian
};

namespace functional {

/// Sinusoidal positions.
///
///   angle(p, i) = p / 10000^(2 i / E),   i = 0 .. ceil(E / 2) - 1
///
/// Source: Vaswani et al., 2017, arXiv:1706.03762, section 3.5.
/// Shapes: -> [length, embed_dim], computed in float64 and rounded once to the dtype of `options`.
///         With an odd E there is one sine more than cosines.
/// Throws: c10::ValueError if length < 0 or embed_dim <= 0.
ATTEND_API torch::Tensor sinusoidal_positions(int64_t length, int64_t embed_dim,
                                              SinusoidLayout layout = SinusoidLayout::kInterleaved,
                                              const torch::TensorOptions& options = {});

}  // namespace functional
}  // namespace attend
