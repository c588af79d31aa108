#include "functional/lowered_mask.h"

#include <algorithm>
#include <limits>

#include "detail/check.h"

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

}  // namespace

AttentionMask with_batch_axis(const AttentionMask& mask) {
  const auto is_3d = [](const torch::Tensor& part) { return part.dim() == 3; };
  if (std::ranges::none_of(mask.allowed(), is_3d) && std::ranges::none_of(mask.biases(), is_3d)) {
    return mask;
  }
  AttentionMask result = mask.is_causal() ? AttentionMask::causal() : AttentionMask();
  const auto add = [&](const torch::Tensor& part) {
    result = result & AttentionMask(is_3d(part) ? part.unsqueeze(0) : part);
  };
  for (const auto& part : mask.lengths()) result = result & AttentionMask::key_lengths(part);
  for (const auto& part : mask.paddings()) result = result & AttentionMask::padding(part);
  std::ranges::for_each(mask.allowed(), add);
  std::ranges::for_each(mask.biases(), add);
  return result;
}

torch::Tensor LoweredMask::apply(const torch::Tensor& scores) const {
  auto result = scores;
  if (is_causal) {
    const auto allowed = causal_mask(scores.size(-2), scores.size(-1), scores.device());
    result = result.masked_fill(allowed.logical_not(), kMinusInfinity);
  }
  if (tensor.defined()) {
    result = tensor.scalar_type() == torch::kBool
                 ? result.masked_fill(tensor.logical_not(), kMinusInfinity)
                 : result + tensor;
  }
  return result;
}

LoweredMask lower_mask(std::string_view who, const AttentionMask& mask, const AttentionShape& shape,
                       torch::Device device, torch::ScalarType dtype) {
  LoweredMask lowered;
  if (mask.is_none()) return lowered;

  torch::Tensor allowed;
  for (const auto& lengths : mask.lengths()) {
    allowed = joined(allowed, lengths_row(who, lengths, shape, device));
  }
  for (const auto& padding : mask.paddings()) {
    check_device(who, padding, device);
    detail::check_shape(who, "padding mask", padding, {shape.batch, shape.source});
    allowed = joined(allowed, padding.view({shape.batch, 1, 1, shape.source}));
  }
  for (const auto& part : mask.allowed())
    allowed = joined(allowed, as_4d(who, part, shape, device));

  torch::Tensor bias;
  for (const auto& part : mask.biases()) {
    const auto next = as_4d(who, part, shape, device).to(dtype);
    bias = bias.defined() ? bias + next : next;
  }

  // The last query sees every key, so a single query needs no causal mask at all.
  if (mask.is_causal() && shape.target != 1) {
    if (shape.target == shape.source && !allowed.defined() && !bias.defined()) {
      lowered.is_causal = true;
    } else {
      const auto causal = causal_mask(shape.target, shape.source, device);
      allowed = joined(allowed, causal.view({1, 1, shape.target, shape.source}));
    }
  }

  if (bias.defined()) {
    lowered.tensor =
        allowed.defined() ? bias.masked_fill(allowed.logical_not(), kMinusInfinity) : bias;
  } else {
    lowered.tensor = allowed;
  }
  return lowered;
}

}  // namespace attend::functional
