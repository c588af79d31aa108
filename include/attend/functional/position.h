#pragma once

// For those who write modules of their own.

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

/// The bucket of the distance between each query and each key: near distances have a bucket each,
/// farther ones share buckets on a logarithmic scale up to max_distance, and all beyond it the
/// last.
///
/// Source: Raffel et al., 2020, arXiv:1910.10683, section 2.1; the buckets of their T5.
/// Shapes: -> [T, S], int64 in [0, num_buckets); query i is at position i + S - T. If
///         bidirectional, keys after the query use the second half of the buckets, otherwise bucket
///         0.
/// Throws: c10::ValueError for a negative length, fewer than 2 buckets (4 and an even number if
///         bidirectional) or a max_distance within the exact buckets.
ATTEND_API torch::Tensor relative_position_buckets(int64_t target_length, int64_t source_length,
                                                   int64_t num_buckets, int64_t max_distance,
                                                   bool bidirectional,
                                                   torch::Device device = torch::kCPU);

/// The same for given distances. ahead: position of the key minus position of the query, integers
/// of any shape -> the same shape.
ATTEND_API torch::Tensor relative_position_buckets(const torch::Tensor& ahead, int64_t num_buckets,
                                                   int64_t max_distance, bool bidirectional);

}  // namespace functional
}  // namespace attend
