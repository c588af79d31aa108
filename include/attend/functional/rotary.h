#pragma once

// For those who write modules of their own.

#include <torch/torch.h>

#include <cstdint>

#include "attend/export.h"

namespace attend {

/// Which two elements of a head form a pair that is rotated.
enum class RotaryPairing {
  kHalves,       // x_i and x_(i + dim / 2): GPT-NeoX, Llama
  kInterleaved,  // x_2i and x_(2i + 1): the paper, GPT-J
};

/// How frequencies are scaled for sequences longer than those of training.
enum class RotaryScalingKind {
  kNone,
  kLinear,  // every frequency / factor (Chen et al., 2023, arXiv:2306.15595)
  kNtk,     // base * factor^(dim / (dim - 2)) (bloc97, 2023; Peng et al., section 3.1)
  kLlama3,  // low frequencies / factor, high ones unchanged (Llama team, 2024, arXiv:2407.21783)
  kYarn,    // the same by ramps, with larger scores (Peng et al., 2023, arXiv:2309.00071)
};

/// The parameters of `RotaryScalingKind`, named as in Hugging Face's `rope_scaling`.
struct RotaryScaling {
  RotaryScalingKind kind = RotaryScalingKind::kNone;
  double factor = 1.0;               // how many times longer than in training; >= 1
  int64_t original_max_length = 0;   // positions in training; for kLlama3 and kYarn, > 0
  double low_frequency_factor = 1;   // kLlama3
  double high_frequency_factor = 4;  // kLlama3; more than the low one
  double beta_fast = 32;             // kYarn: frequencies with more turns in training are unchanged
  double beta_slow = 1;              // kYarn: frequencies with fewer turns are divided by factor
};

/// Options for `functional::rotary`.
struct RotaryOptions {
  int64_t dim = 0;      // the first `dim` elements of a head are rotated; even; 0: all
  double base = 10000;  // the longest wavelength is about 2 pi base positions
  RotaryPairing pairing = RotaryPairing::kHalves;
  RotaryScaling scaling = {};

  /// Throws c10::ValueError for a field out of its range. head_dim: D.
  void validate(int64_t head_dim) const;
};

namespace functional {

/// Rotary positions: each pair of elements of x_t is rotated by the angle (first + t) * frequency,
/// so that products of queries and keys depend only on the distance between their positions.
///
/// kYarn also multiplies the pairs by 0.1 ln(factor) + 1.
///
/// Source: Su et al., 2021, arXiv:2104.09864, equations 14 and 15.
/// Shapes: x [..., T, D] -> the same; `first` is the position of x's first row.
/// Throws: c10::ValueError for options, c10::Error for a rank below 2.
/// Note:   angles are computed in float64, sines and cosines rounded once to x's dtype, float32 for
///         16-bit x.
ATTEND_API torch::Tensor rotary(const torch::Tensor& x, const RotaryOptions& options,
                                int64_t first = 0);

/// The same with a position for each row. positions: [T], or [B, T] where x is [B, .., T, D]; integers on
/// x's device.
ATTEND_API torch::Tensor rotary(const torch::Tensor& x, const RotaryOptions& options,
                                const torch::Tensor& positions);

}  // namespace functional
}  // namespace attend
