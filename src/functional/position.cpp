#include "attend/functional/position.h"

#include <cmath>

#include "detail/check.h"

namespace attend::functional {
namespace {

constexpr auto kBuckets = "relative_position_buckets";

}  // namespace

torch::Tensor sinusoidal_positions(int64_t length, int64_t embed_dim, SinusoidLayout layout,
                                   const torch::TensorOptions& options) {
  TORCH_CHECK_VALUE(length >= 0, "sinusoidal_positions: expected length >= 0, got ", length);
  detail::check_positive("sinusoidal_positions", "embed_dim", embed_dim);
  const auto sines = (embed_dim + 1) / 2, cosines = embed_dim / 2;
  const auto exponent =
      torch::arange(sines, torch::kDouble) * (2.0 / static_cast<double>(embed_dim));
  const auto angles = torch::arange(length, torch::kDouble).unsqueeze(1) *
                      torch::pow(10000.0, -exponent);  // [length, sines]
  auto table = torch::empty({length, embed_dim}, torch::kDouble);
  const auto cosine_values = angles.narrow(1, 0, cosines).cos();
  if (layout == SinusoidLayout::kInterleaved) {
    table.slice(1, 0, embed_dim, 2).copy_(angles.sin());
    table.slice(1, 1, embed_dim, 2).copy_(cosine_values);
  } else {
    table.narrow(1, 0, sines).copy_(angles.sin());
    table.narrow(1, sines, cosines).copy_(cosine_values);
  }
  // TensorOptions without a dtype mean the default one, which Tensor::to would not apply.
  return table.to(options.dtype(options.dtype()));
}

torch::Tensor relative_position_buckets(int64_t target_length, int64_t source_length,
                                        int64_t num_buckets, int64_t max_distance,
                                        bool bidirectional, torch::Device device) {
  TORCH_CHECK_VALUE(target_length >= 0 && source_length >= 0, kBuckets,
                    ": expected lengths >= 0, got ", target_length, " and ", source_length);
  const auto options = torch::TensorOptions().dtype(torch::kLong).device(device);
  const auto queries = torch::arange(source_length - target_length, source_length, options);
  return relative_position_buckets(torch::arange(source_length, options) - queries.unsqueeze(1),
                                   num_buckets, max_distance, bidirectional);
}

torch::Tensor relative_position_buckets(const torch::Tensor& ahead, int64_t num_buckets,
                                        int64_t max_distance, bool bidirectional) {
  detail::check_ids(kBuckets, "distances", ahead);
  TORCH_CHECK_VALUE(bidirectional ? num_buckets >= 4 && num_buckets % 2 == 0 : num_buckets >= 2,
                    kBuckets, ": expected ",
                    bidirectional ? "an even number of at least 4 buckets" : "at least 2 buckets",
                    ", got ", num_buckets);
  const auto buckets = bidirectional ? num_buckets / 2 : num_buckets;
  const auto exact = buckets / 2;
  TORCH_CHECK_VALUE(max_distance > exact, kBuckets, ": expected max_distance above the ", exact,
                    " exact buckets, got ", max_distance);

  const auto distance = bidirectional ? ahead.abs() : ahead.neg().clamp_min(0);
  // In float32, as T5 computes it: at a border between buckets, rounding decides.
  const auto logarithm = torch::log(distance.to(torch::kFloat) / static_cast<double>(exact)) /
                         std::log(static_cast<double>(max_distance) / static_cast<double>(exact)) *
                         static_cast<double>(buckets - exact);
  const auto far = (logarithm.clamp(0.0, static_cast<double>(buckets)).to(torch::kLong) + exact)
                       .clamp_max(buckets - 1);
  const auto result = torch::where(distance.lt(exact), distance, far);
  return bidirectional ? result + ahead.gt(0).to(torch::kLong) * buckets : result;
}

}  // namespace attend::functional
