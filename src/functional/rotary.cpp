#include "attend/functional/rotary.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "detail/check.h"

namespace attend {
namespace {

constexpr auto kOptions = "RotaryOptions";
constexpr double kTwoPi = 2.0 * std::numbers::pi;

// Between which pairs YaRN goes over from keeping a frequency to dividing it.
torch::Tensor yarn_ramp(const RotaryOptions& options, int64_t dim,
                        const torch::TensorOptions& kind) {
  const auto& scaling = options.scaling;
  // The pair that makes so many turns over the length of training.
  const auto pair_of = [&](double turns) {
    const auto length = static_cast<double>(scaling.original_max_length);
    return static_cast<double>(dim) * std::log(length / (turns * kTwoPi)) /
           (2.0 * std::log(options.base));
  };
  const double low = std::max(std::floor(pair_of(scaling.beta_fast)), 0.0);
  double high = std::min(std::ceil(pair_of(scaling.beta_slow)), static_cast<double>(dim - 1));
  if (low == high) high += 0.001;  // as the paper's authors do
  return ((torch::arange(dim / 2, kind) - low) / (high - low)).clamp(0.0, 1.0);
}

// The angle by which each pair is rotated from one position to the next, in radians: [dim / 2],
// float64.
torch::Tensor rotary_frequencies(const RotaryOptions& options, int64_t head_dim,
                                 torch::Device device) {
  options.validate(head_dim);
  const auto kind = torch::TensorOptions().dtype(torch::kDouble).device(device);
  const auto dim = options.dim == 0 ? head_dim : options.dim;
  const auto& scaling = options.scaling;
  const auto frequencies = [&](double base) {
    const auto exponents = torch::arange(0, dim, 2, kind) * (-1.0 / static_cast<double>(dim));
    return torch::pow(base, exponents);
  };
  const auto plain = frequencies(options.base);
  const auto slowed = plain / scaling.factor;
  switch (scaling.kind) {
    case RotaryScalingKind::kNone:
      return plain;
    case RotaryScalingKind::kLinear:
      return slowed;
    case RotaryScalingKind::kNtk: {
      const auto d = static_cast<double>(dim);
      return frequencies(options.base * std::pow(scaling.factor, d / (d - 2.0)));
    }
    case RotaryScalingKind::kLlama3: {
      // How many turns a pair makes over the length of training.
      const auto turns = plain * (static_cast<double>(scaling.original_max_length) / kTwoPi);
      const auto kept = ((turns - scaling.low_frequency_factor) /
                         (scaling.high_frequency_factor - scaling.low_frequency_factor))
                            .clamp(0.0, 1.0);
      return slowed * (1.0 - kept) + plain * kept;
    }
    case RotaryScalingKind::kYarn: {
      const auto ramp = yarn_ramp(options, dim, kind);
      return slowed * ramp + plain * (1.0 - ramp);
    }
  }
  TORCH_INTERNAL_ASSERT(false, "scaling");
}

// The factor by which kYarn scales rotated vectors.
double rotary_length(const RotaryScaling& scaling) {
  return scaling.kind == RotaryScalingKind::kYarn ? 0.1 * std::log(scaling.factor) + 1.0 : 1.0;
}

}  // namespace

void RotaryOptions::validate(int64_t head_dim) const {
  const auto rotated = dim == 0 ? head_dim : dim;
  TORCH_CHECK_VALUE(rotated > 0 && rotated % 2 == 0 && rotated <= head_dim, kOptions,
                    ": expected an even dim of at most head_dim ", head_dim, ", got ", rotated);
  TORCH_CHECK_VALUE(base > 1.0, kOptions, ": expected base > 1, got ", base);
  if (scaling.kind == RotaryScalingKind::kNone) return;
  TORCH_CHECK_VALUE(scaling.factor >= 1.0, kOptions, ": expected a scaling factor >= 1, got ",
                    scaling.factor);
  TORCH_CHECK_VALUE(scaling.kind != RotaryScalingKind::kNtk || rotated > 2, kOptions,
                    ": expected dim > 2 for NTK scaling, got ", rotated);
  if (scaling.kind == RotaryScalingKind::kLlama3 || scaling.kind == RotaryScalingKind::kYarn) {
    detail::check_positive(kOptions, "original_max_length", scaling.original_max_length);
  }
  TORCH_CHECK_VALUE(scaling.low_frequency_factor > 0.0 &&
                        scaling.high_frequency_factor > scaling.low_frequency_factor,
                    kOptions, ": expected 0 < low_frequency_factor < high_frequency_factor, got ",
                    scaling.low_frequency_factor, " and ", scaling.high_frequency_factor);
  TORCH_CHECK_VALUE(scaling.beta_slow > 0.0 && scaling.beta_fast >= scaling.beta_slow, kOptions,
                    ": expected 0 < beta_slow <= beta_fast, got ", scaling.beta_slow, " and ",
                    scaling.beta_fast);
}

namespace functional {

torch::Tensor rotary(const torch::Tensor& x, const RotaryOptions& options, int64_t first) {
  detail::check_rank("rotary", "x", x, 2, 8);
  const auto kind = torch::TensorOptions().dtype(torch::kLong).device(x.device());
  return rotary(x, options, torch::arange(first, first + x.size(-2), kind));
}

torch::Tensor rotary(const torch::Tensor& x, const RotaryOptions& options,
                     const torch::Tensor& positions) {
  detail::check_rank("rotary", "x", x, 2, 8);
  detail::check_ids("rotary", "positions", positions);
  detail::check_rank("rotary", "positions", positions, 1, x.dim() > 2 ? 2 : 1);
  const bool are_of_rows = positions.dim() == 2;
  if (are_of_rows) {
    detail::check_shape("rotary", "positions", positions, {x.size(0), x.size(-2)});
  } else {
    detail::check_shape("rotary", "positions", positions, {x.size(-2)});
  }
  const auto head_dim = x.size(-1);
  const auto frequencies = rotary_frequencies(options, head_dim, x.device());
  const auto pairs = frequencies.size(0);
  auto angles = positions.to(torch::kDouble).unsqueeze(-1) * frequencies;  // [.., T, dim / 2]
  for (auto axis = x.dim(); are_of_rows && axis > 3; --axis) angles = angles.unsqueeze(1);
  const double scale = rotary_length(options.scaling);
  const auto type = x.scalar_type() == torch::kDouble ? torch::kDouble : torch::kFloat;
  const auto cosines = (angles.cos() * scale).to(type);
  const auto sines = (angles.sin() * scale).to(type);

  const auto rotated = x.narrow(-1, 0, 2 * pairs).to(type);
  torch::Tensor turned;
  if (options.pairing == RotaryPairing::kHalves) {
    const auto a = rotated.narrow(-1, 0, pairs), b = rotated.narrow(-1, pairs, pairs);
    turned = torch::cat({a * cosines - b * sines, b * cosines + a * sines}, -1);
  } else {
    const auto paired = rotated.unflatten(-1, {pairs, 2});
    const auto a = paired.select(-1, 0), b = paired.select(-1, 1);
    turned = torch::stack({a * cosines - b * sines, b * cosines + a * sines}, -1).flatten(-2);
  }
  turned = turned.to(x.scalar_type());
  if (2 * pairs == head_dim) return turned;
  return torch::cat({turned, x.narrow(-1, 2 * pairs, head_dim - 2 * pairs)}, -1);
}

}  // namespace functional
}  // namespace attend
