#include "functional/lowered_mask.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "detail/check.h"
#include "functional/mask_memo.h"
#include "functional/mask_parts.h"

namespace attend::functional {
namespace {

constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();

void check_device(std::string_view who, const torch::Tensor& part, torch::Device device) {
  TORCH_CHECK(part.device() == device, who, ": expected mask on ", device, " like query, got ",
              part.device());
}

// A user's mask tensor as 4-D, checked to broadcast to [B, H, T, S].
torch::Tensor as_4d(std::string_view who, const torch::Tensor& mask, const AttentionShape& shape,
                    torch::Device device) {
  check_device(who, mask, device);
  auto result = mask;
  if (mask.dim() == 3) {
    TORCH_CHECK(false, who, ": expected a mask [T, S] or [B, H, T, S], got the 3-D shape ",
                detail::shape_string(mask.sizes()),
                ", which has two readings: write mask.unsqueeze(1) for [B, 1, T, S] or "
                "mask.unsqueeze(0) for [1, H, T, S]");
  } else if (mask.dim() == 2) {
    result = mask.unsqueeze(0).unsqueeze(0);  // [1, 1, T, S]
  }
  const std::array<int64_t, 4> full{shape.batch, shape.heads, shape.target, shape.source};
  bool fits = true;
  for (int64_t d = 0; d < 4; ++d) {
    const auto size = result.size(d);
    fits = fits && (size == 1 || size == full[static_cast<size_t>(d)]);
  }
  TORCH_CHECK(fits, who, ": expected mask to broadcast to ", detail::shape_string(full), ", got ",
              detail::shape_string(mask.sizes()));
  return result;
}

torch::Tensor joined(const torch::Tensor& a, const torch::Tensor& b) {
  return a.defined() ? a.logical_and(b) : b;
}

// key_lengths as a [B, 1, 1, S] row of bools.
torch::Tensor lengths_row(std::string_view who, const torch::Tensor& lengths,
                          const AttentionShape& shape, torch::Device device) {
  check_device(who, lengths, device);
  detail::check_shape(who, "key lengths", lengths, {shape.batch});
  // The range is checked where that costs no wait for the device.
  if (device.is_cpu() && lengths.numel() > 0) {
    const auto [least, most] = lengths.to(torch::kLong).aminmax();
    TORCH_CHECK(least.item<int64_t>() >= 0 && most.item<int64_t>() <= shape.source, who,
                ": expected key lengths in [0, ", shape.source, "], got ", least.item<int64_t>(),
                " to ", most.item<int64_t>());
  }
  const auto positions = torch::arange(shape.source, lengths.options());
  return positions.view({1, 1, 1, -1}).lt(lengths.view({-1, 1, 1, 1}));
}

// The bounds that some query reaches: the last query's left one and the first one's right one.
AttentionMask::Band effective(const AttentionMask::Band& band, const AttentionShape& shape) {
  constexpr auto kAll = AttentionMask::Band::kAll;
  return {band.left < shape.source - 1 ? band.left : kAll,
          band.right < shape.target - 1 ? band.right : kAll};
}

void check_segments(std::string_view who, const AttentionMask::Parts::Segments& segments,
                    const AttentionShape& shape, torch::Device device) {
  check_device(who, segments.query, device);
  check_device(who, segments.key, device);
  detail::check_shape(who, "query segments", segments.query, {shape.batch, shape.target});
  detail::check_shape(who, "key segments", segments.key, {shape.batch, shape.source});
}

// [B, T] and [B, S] -> [B, 1, T, S].
torch::Tensor same_segments(const torch::Tensor& queries, const torch::Tensor& keys) {
  return queries.unsqueeze(2).eq(keys.unsqueeze(1)).unsqueeze(1);
}

// Where queries and keys stand, of a mask that says so: [1, T] and [1, S], or [B, T] and [B, S].
AttentionMask::Parts::Positions positions_of(std::string_view who, const AttentionMask& mask,
                                             const AttentionShape& shape, torch::Device device) {
  const auto checked = [&](const char* what, const torch::Tensor& positions, int64_t length) {
    check_device(who, positions, device);
    const bool is_one = positions.dim() == 1;
    if (is_one) {
      detail::check_shape(who, what, positions, {length});
    } else {
      detail::check_shape(who, what, positions, {shape.batch, length});
    }
    return is_one ? positions.unsqueeze(0) : positions;
  };
  const auto& [query, key] = *mask.parts().positions;
  return {checked("query positions", query, shape.target),
          checked("key positions", key, shape.source)};
}

// How far each key is ahead of each query. Positions [B, T] and [B, S] -> [B, 1, T, S].
torch::Tensor distances(const torch::Tensor& queries, const torch::Tensor& keys) {
  return (keys.unsqueeze(1) - queries.unsqueeze(2)).unsqueeze(1);
}

// Of one [H] and positions [B, T] and [B, S], in the type of the slopes: [B, H, T, S].
torch::Tensor alibi_bias(const torch::Tensor& slopes, const torch::Tensor& queries,
                         const torch::Tensor& keys) {
  return distances(queries, keys).abs().to(slopes.scalar_type()) * -slopes.view({1, -1, 1, 1});
}

// The same of queries and keys that end together, as a relative bias: [H, T + S - 1].
torch::Tensor alibi_by_distance(const torch::Tensor& slopes, const AttentionShape& shape) {
  const auto ahead =
      torch::arange(1 - shape.source, shape.target, slopes.options().dtype(torch::kLong));
  return ahead.abs().to(slopes.scalar_type()) * -slopes.unsqueeze(1);
}

// The values of a relative bias [H, T + S - 1] for each query and key: [1, H, T, S].
torch::Tensor for_each_pair(const torch::Tensor& relative_bias, const AttentionShape& shape) {
  // Windows of S values, the first of which is that of the last query.
  return relative_bias.unfold(1, shape.source, 1).flip(1).unsqueeze(0);
}

// Whether each key lies in the band around each query, by their positions [B, T] and [B, S]:
// [B, 1, T, S].
torch::Tensor inside_band(const AttentionMask::Band& band, const torch::Tensor& keys,
                          const torch::Tensor& queries) {
  constexpr auto kAll = AttentionMask::Band::kAll;
  const auto ahead = distances(queries, keys);
  torch::Tensor inside;
  if (band.left != kAll) inside = ahead.ge(-band.left);
  if (band.right != kAll) inside = joined(inside, ahead.le(band.right));
  return inside;
}

// Of a window that ends before the first key, all are left out by its own offset, which nobody
// means. Causal alone (`left` without bound) is let through: its first rows are empty, and that is
// said.
void check_window(std::string_view who, const AttentionMask::Band& band,
                  const AttentionShape& shape) {
  constexpr auto kAll = AttentionMask::Band::kAll;
  if (band.left == kAll || band.right == kAll || shape.source == 0) return;
  TORCH_CHECK_VALUE(shape.target - shape.source <= band.right, who,
                    ": expected a window that holds a key for each query (they end together, so "
                    "that query 0 sees "
                    "the keys up to S - T + right), got ",
                    shape.target, " queries, ", shape.source, " keys and right ", band.right,
                    "; where they stand elsewhere, say so with AttentionMask::positions");
}

torch::Tensor summed(const torch::Tensor& a, const torch::Tensor& b) {
  return a.defined() ? a + b : b;
}

bool is_learned(const torch::Tensor& x) {
  return x.defined() && torch::GradMode::is_enabled() && x.requires_grad();
}

}  // namespace

AttentionMask with_batch_axis(const AttentionMask& mask) {
  const auto is_3d = [](const torch::Tensor& part) { return part.dim() == 3; };
  const auto &allowed = mask.parts().allowed, &biases = mask.parts().biases;
  if (std::ranges::none_of(allowed, is_3d) && std::ranges::none_of(biases, is_3d)) return mask;
  auto parts = mask.parts();
  for (auto* tensors : {&parts.allowed, &parts.biases}) {
    for (auto& part : *tensors) part = is_3d(part) ? part.unsqueeze(0) : part;
  }
  return AttentionMask(std::move(parts));
}

LoweredMask LoweredMask::dense(const AttentionShape& shape) const {
  if (is_dense()) return *this;
  const auto make = [&] {
    LoweredMask result{.band = band, .allowed = allowed, .bias = bias, .memo = memo};
    if (slopes.defined()) {
      const auto options = slopes.options().dtype(torch::kLong);
      const auto queries =
          torch::arange(shape.source - shape.target, shape.source, options).unsqueeze(0);
      const auto keys = torch::arange(shape.source, options).unsqueeze(0);
      result.bias = summed(bias, alibi_bias(slopes, queries, keys));
    }
    if (relative_bias.defined()) {
      result.bias = summed(result.bias, for_each_pair(relative_bias, shape));
    }
    if (query_segments.defined()) {
      result.allowed = joined(allowed, same_segments(query_segments, key_segments));
    }
    return result;
  };
  return memo == nullptr ? make() : memo->dense(*this, shape, make);
}

torch::Tensor LoweredMask::everything_allowed(int64_t target, int64_t source,
                                              torch::Device device) const {
  if (band.is_everything()) return allowed;
  const auto tensor = window_mask(target, source, band.left, band.right, device);
  return joined(allowed, tensor.unsqueeze(0).unsqueeze(0));
}

torch::Tensor LoweredMask::apply(const torch::Tensor& scores) const {
  auto result = bias.defined() ? scores + bias : scores;
  const auto all = everything_allowed(scores.size(-2), scores.size(-1), scores.device());
  return all.defined() ? result.masked_fill(all.logical_not(), kMinusInfinity) : result;
}

LoweredMask LoweredMask::part(const AttentionShape& shape, int64_t target, int64_t targets,
                              int64_t source, int64_t sources, torch::Device device) const {
  const auto narrowed = [&](const torch::Tensor& tensor) {
    if (!tensor.defined()) return tensor;
    const auto rows = tensor.size(2) == 1 ? tensor : tensor.narrow(2, target, targets);
    return rows.size(3) == 1 ? rows : rows.narrow(3, source, sources);
  };
  LoweredMask result{.allowed = narrowed(allowed), .bias = narrowed(bias)};
  if (band.is_everything()) return result;
  // How far the part's own bottom-right corner lies from the whole one's diagonal.
  const auto shift = (target + targets + shape.source - shape.target) - (source + sources);
  constexpr auto kAll = AttentionMask::Band::kAll;
  const auto left = band.left == kAll ? kAll : band.left - shift;
  const auto right = band.right == kAll ? kAll : band.right + shift;
  if (left >= 0 && right >= 0) {
    result.band = effective({left, right}, {shape.batch, shape.heads, targets, sources});
    return result;
  }
  const auto options = torch::TensorOptions().dtype(torch::kLong).device(device);
  const auto queries = torch::arange(target, target + targets, options).unsqueeze(0);
  const auto keys = torch::arange(source, source + sources, options).unsqueeze(0);
  result.allowed =
      joined(result.allowed, inside_band(band, keys, queries + (shape.source - shape.target)));
  return result;
}

LoweredMask LoweredMask::rows(const AttentionShape& shape, const torch::Tensor& chosen) const {
  const auto selected = [&](const torch::Tensor& tensor) {
    return !tensor.defined() || tensor.size(2) == 1 ? tensor : tensor.index_select(2, chosen);
  };
  LoweredMask result{.allowed = selected(allowed), .bias = selected(bias)};
  if (band.is_everything()) return result;
  const auto keys = torch::arange(shape.source, chosen.options()).unsqueeze(0);
  const auto queries = (chosen + (shape.source - shape.target)).unsqueeze(0);
  result.allowed = joined(result.allowed, inside_band(band, keys, queries));
  return result;
}

LoweredMask::Seen LoweredMask::seen(const AttentionShape& shape, torch::Device device) const {
  if (!is_dense()) return dense(shape).seen(shape, device);
  auto pairs = everything_allowed(shape.target, shape.source, device);
  if (bias.defined()) pairs = joined(pairs, bias.detach().ne(kMinusInfinity));
  if (!pairs.defined())
    pairs = torch::ones({1, 1, 1, 1}, torch::TensorOptions(torch::kBool).device(device));
  return {pairs.any(3, /*keepdim=*/true), pairs.any(2, /*keepdim=*/true).transpose(2, 3)};
}

LoweredMask LoweredMask::with_open_keys(const AttentionShape& shape, int64_t count,
                                        torch::Device device) const {
  if (!is_dense()) return dense(shape).with_open_keys(shape, count, device);
  const auto padded = [&](const torch::Tensor& tensor, double value) {
    auto wide = tensor.size(3) == 1 ? tensor.expand({-1, -1, -1, shape.source}) : tensor;
    return torch::constant_pad_nd(wide, {0, count}, value);
  };
  LoweredMask result;
  const auto all = everything_allowed(shape.target, shape.source, device);
  if (all.defined()) result.allowed = padded(all, 1);
  if (bias.defined()) result.bias = padded(bias, 0);
  return result;
}

KernelMask kernel_mask(const LoweredMask& mask, const AttentionShape& shape, torch::Device device) {
  constexpr auto kAll = AttentionMask::Band::kAll;
  if (shape.target == shape.source && mask.band.left == kAll && mask.band.right == 0 &&
      !mask.allowed.defined() && !mask.bias.defined()) {
    return {.is_causal = true};
  }
  const auto all = mask.everything_allowed(shape.target, shape.source, device);
  if (!mask.bias.defined()) return {.tensor = all};
  return {.tensor =
              all.defined() ? mask.bias.masked_fill(all.logical_not(), kMinusInfinity) : mask.bias};
}

namespace {

LoweredMask lower(std::string_view who, const AttentionMask& mask, const AttentionShape& shape,
                  torch::Device device, torch::ScalarType dtype) {
  LoweredMask lowered;
  const auto& parts = mask.parts();
  auto& allowed = lowered.allowed;
  if (parts.positions) {
    const auto [query, key] = positions_of(who, mask, shape, device);
    allowed = key.ge(0).unsqueeze(1).unsqueeze(1);
    if (!parts.band.is_everything()) {
      allowed = joined(allowed, inside_band(parts.band, key, query));
    }
  } else {
    check_window(who, parts.band, shape);
    lowered.band = effective(parts.band, shape);
  }
  for (const auto& lengths : parts.lengths) {
    allowed = joined(allowed, lengths_row(who, lengths, shape, device));
  }
  for (const auto& padding : parts.paddings) {
    check_device(who, padding, device);
    detail::check_shape(who, "padding mask", padding, {shape.batch, shape.source});
    allowed = joined(allowed, padding.view({shape.batch, 1, 1, shape.source}));
  }
  for (const auto& part : parts.segments) {
    check_segments(who, part, shape, device);
    // One of them is described.
    if (lowered.query_segments.defined()) {
      allowed = joined(allowed, same_segments(part.query, part.key));
    } else {
      lowered.query_segments = part.query.to(torch::kLong).contiguous();
      lowered.key_segments = part.key.to(torch::kLong).contiguous();
    }
  }
  for (const auto& part : parts.allowed) {
    allowed = joined(allowed, as_4d(who, part, shape, device));
  }

  auto& bias = lowered.bias;
  for (const auto& part : parts.biases) {
    bias = summed(bias, as_4d(who, part, shape, device).to(dtype));
  }
  auto& relative_bias = lowered.relative_bias;
  const bool has_pairs = shape.target > 0 && shape.source > 0;
  const auto wide = dtype == torch::kDouble ? torch::kDouble : torch::kFloat;
  for (const auto& slopes : parts.slopes) {
    check_device(who, slopes, device);
    detail::check_shape(who, "ALiBi slopes", slopes, {shape.heads});
    // One of them is described, if the kernel knows how.
    if (parts.positions) {
      const auto [query, key] = positions_of(who, mask, shape, device);
      bias = summed(bias, alibi_bias(slopes.to(wide), query, key).to(dtype));
    } else if (is_learned(slopes) || lowered.slopes.defined() || dtype != wide) {
      if (!has_pairs) continue;
      relative_bias = summed(relative_bias, alibi_by_distance(slopes.to(wide), shape).to(dtype));
    } else {
      lowered.slopes = slopes.to(wide).contiguous();
    }
  }
  for (const auto& part : parts.relative_biases) {
    check_device(who, part, device);
    TORCH_CHECK(!parts.positions, who,
                ": expected no positions beside a relative bias, whose values are those of queries "
                "and keys that end together");
    detail::check_shape(who, "relative bias", part,
                        {shape.heads, std::max<int64_t>(shape.target + shape.source - 1, 0)});
    if (has_pairs) relative_bias = summed(relative_bias, part.to(dtype));
  }
  if (relative_bias.defined()) relative_bias = relative_bias.contiguous();
  // A kernel has one gradient of a bias.
  if (is_learned(relative_bias) && is_learned(bias)) {
    bias = bias + for_each_pair(relative_bias, shape);
    relative_bias = torch::Tensor();
  }
  return lowered;
}

}  // namespace

LoweredMask lower_mask(std::string_view who, const AttentionMask& mask, const AttentionShape& shape,
                       torch::Device device, torch::ScalarType dtype) {
  return described_mask(who, mask, shape, device, dtype).dense(shape);
}

LoweredMask described_mask(std::string_view who, const AttentionMask& mask,
                           const AttentionShape& shape, torch::Device device,
                           torch::ScalarType dtype) {
  if (mask.is_none()) return {};
  const auto make = [&] { return lower(who, mask, shape, device, dtype); };
  const auto& memo = mask.memo();
  if (memo == nullptr) return make();
  auto result = memo->lowered(mask.parts(), shape, device, dtype, make);
  result.memo = memo;
  return result;
}

}  // namespace attend::functional
