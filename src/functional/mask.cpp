#include "attend/functional/mask.h"

#include <algorithm>

#include "detail/check.h"

namespace attend {
namespace {

template <typename Part>
void append(std::vector<Part>& to, const std::vector<Part>& from) {
  to.insert(to.end(), from.begin(), from.end());
}

}  // namespace

AttentionMask::AttentionMask(const torch::Tensor& mask) {
  if (!mask.defined()) return;
  detail::check_rank("AttentionMask", "a mask", mask, 2, 4);
  if (mask.scalar_type() == torch::kBool) {
    allowed_.push_back(mask);
  } else {
    TORCH_CHECK(mask.is_floating_point(),
                "AttentionMask: expected a bool mask (true = may attend) or a floating-point bias, "
                "got dtype ",
                mask.scalar_type());
    biases_.push_back(mask);
  }
}

AttentionMask AttentionMask::causal() { return window(Band::kAll, 0); }

AttentionMask AttentionMask::window(int64_t left, int64_t right) {
  TORCH_CHECK_VALUE(left >= 0 && right >= 0,
                    "AttentionMask::window: expected left >= 0 and right >= 0, got ", left, " and ",
                    right);
  AttentionMask mask;
  mask.band_ = {left, right};
  return mask;
}

AttentionMask AttentionMask::segments(const torch::Tensor& query_ids,
                                      const torch::Tensor& key_ids) {
  constexpr auto kName = "AttentionMask::segments";
  for (const auto& [what, ids] :
       {std::pair{"query_ids", query_ids}, std::pair{"key_ids", key_ids}}) {
    detail::check_rank(kName, what, ids, 2, 2);
    detail::check_ids(kName, what, ids);
  }
  AttentionMask mask;
  mask.segments_.push_back({query_ids, key_ids});
  return mask;
}

AttentionMask AttentionMask::alibi(const torch::Tensor& slopes) {
  detail::check_rank("AttentionMask::alibi", "slopes", slopes, 1, 1);
  TORCH_CHECK(slopes.is_floating_point(),
              "AttentionMask::alibi: expected floating-point slopes, got dtype ",
              slopes.scalar_type());
  AttentionMask mask;
  mask.slopes_.push_back(slopes);
  return mask;
}

AttentionMask AttentionMask::key_lengths(const torch::Tensor& lengths) {
  detail::check_rank("AttentionMask::key_lengths", "lengths", lengths, 1, 1);
  detail::check_ids("AttentionMask::key_lengths", "lengths", lengths);
  AttentionMask mask;
  mask.lengths_.push_back(lengths);
  return mask;
}

AttentionMask AttentionMask::padding(const torch::Tensor& may_attend) {
  detail::check_rank("AttentionMask::padding", "may_attend", may_attend, 2, 2);
  TORCH_CHECK(may_attend.scalar_type() == torch::kBool,
              "AttentionMask::padding: expected may_attend of dtype Bool (true = may attend), got ",
              may_attend.scalar_type());
  AttentionMask mask;
  mask.paddings_.push_back(may_attend);
  return mask;
}

AttentionMask AttentionMask::positions(const torch::Tensor& query, const torch::Tensor& key) {
  constexpr auto kName = "AttentionMask::positions";
  for (const auto& [what, positions] : {std::pair{"query", query}, std::pair{"key", key}}) {
    detail::check_rank(kName, what, positions, 1, 1);
    detail::check_ids(kName, what, positions);
  }
  AttentionMask mask;
  mask.positions_ = {query, key};
  return mask;
}

bool AttentionMask::is_none() const {
  return !positions_ && band_.is_everything() && slopes_.empty() && !has_tensors();
}

bool AttentionMask::has_tensors() const {
  return !segments_.empty() || !lengths_.empty() || !paddings_.empty() || !allowed_.empty() ||
         !biases_.empty();
}

AttentionMask operator&(const AttentionMask& a, const AttentionMask& b) {
  TORCH_CHECK(!a.positions_ || !b.positions_,
              "AttentionMask: expected positions in one of two joined masks, got them in both");
  AttentionMask both = a;
  if (b.positions_) both.positions_ = b.positions_;
  both.band_ = {std::min(a.band_.left, b.band_.left), std::min(a.band_.right, b.band_.right)};
  append(both.segments_, b.segments_);
  append(both.slopes_, b.slopes_);
  append(both.lengths_, b.lengths_);
  append(both.paddings_, b.paddings_);
  append(both.allowed_, b.allowed_);
  append(both.biases_, b.biases_);
  return both;
}

namespace functional {

torch::Tensor causal_mask(int64_t n, torch::Device device) { return causal_mask(n, n, device); }

torch::Tensor causal_mask(int64_t target_length, int64_t source_length, torch::Device device) {
  TORCH_CHECK_VALUE(target_length >= 0 && source_length >= 0,
                    "causal_mask: expected lengths >= 0, got ", target_length, " and ",
                    source_length);
  return torch::ones({target_length, source_length},
                     torch::TensorOptions().dtype(torch::kBool).device(device))
      .tril(source_length - target_length);
}

torch::Tensor window_mask(int64_t target_length, int64_t source_length, int64_t left, int64_t right,
                          torch::Device device) {
  TORCH_CHECK_VALUE(target_length >= 0 && source_length >= 0 && left >= 0 && right >= 0,
                    "window_mask: expected lengths, left and right >= 0, got ", target_length, ", ",
                    source_length, ", ", left, " and ", right);
  auto mask = torch::ones({target_length, source_length},
                          torch::TensorOptions().dtype(torch::kBool).device(device));
  const auto offset = source_length - target_length;
  // A bound beyond the matrix changes nothing, and adding to the largest integer would overflow.
  if (right < target_length) mask = mask.tril(offset + right);
  if (left < source_length) mask = mask.triu(offset - left);
  return mask;
}

torch::Tensor alibi_slopes(int64_t num_heads, torch::Device device) {
  detail::check_positive("alibi_slopes", "num_heads", num_heads);
  int64_t power = 1;
  while (power * 2 <= num_heads) power *= 2;
  const auto options = torch::TensorOptions().dtype(torch::kDouble).device(device);
  const auto geometric = [&](int64_t heads, int64_t step, int64_t count) {
    const auto exponents = torch::arange(1, count * step + 1, step, options);
    return torch::pow(2.0, exponents * (-8.0 / static_cast<double>(heads)));
  };
  const auto slopes =
      torch::cat({geometric(power, 1, power), geometric(2 * power, 2, num_heads - power)});
  return slopes.to(torch::kFloat);
}

torch::Tensor padding_mask(const torch::Tensor& tokens, int64_t pad_id) {
  detail::check_ids("padding_mask", "tokens", tokens);
  return tokens.ne(pad_id);
}

AttentionMask mask_from_torch(const torch::Tensor& attn_mask, int64_t num_heads) {
  if (!attn_mask.defined()) return {};
  detail::check_rank("mask_from_torch", "attn_mask", attn_mask, 2, 3);
  auto mask = attn_mask;
  if (mask.dim() == 3) {
    detail::check_positive("mask_from_torch", "num_heads", num_heads);
    TORCH_CHECK(
        mask.size(0) % num_heads == 0,
        "mask_from_torch: expected attn_mask of shape [B * num_heads, T, S] with num_heads ",
        num_heads, ", got ", detail::shape_string(mask.sizes()));
    mask = mask.unflatten(0, {-1, num_heads});  // [B, H, T, S]
  }
  return mask.scalar_type() == torch::kBool ? AttentionMask(mask.logical_not())
                                            : AttentionMask(mask);
}

AttentionMask padding_from_torch(const torch::Tensor& key_padding_mask) {
  if (!key_padding_mask.defined()) return {};
  TORCH_CHECK(key_padding_mask.scalar_type() == torch::kBool,
              "padding_from_torch: expected key_padding_mask of dtype Bool (true = ignore), got ",
              key_padding_mask.scalar_type());
  return AttentionMask::padding(key_padding_mask.logical_not());
}

}  // namespace functional
}  // namespace attend
