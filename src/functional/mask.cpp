#include "attend/functional/mask.h"

#include <algorithm>
#include <utility>

#include "detail/check.h"
#include "functional/mask_memo.h"
#include "functional/mask_parts.h"

namespace attend {
namespace {

template <typename Part>
void append(std::vector<Part>& to, const std::vector<Part>& from) {
  to.insert(to.end(), from.begin(), from.end());
}

bool have_tensors(const AttentionMask::Parts& parts) {
  return !parts.segments.empty() || !parts.lengths.empty() || !parts.paddings.empty() ||
         !parts.allowed.empty() || !parts.biases.empty() || !parts.relative_biases.empty();
}

bool are_same(const std::vector<torch::Tensor>& a, const std::vector<torch::Tensor>& b) {
  return std::ranges::equal(
      a, b, [](const torch::Tensor& x, const torch::Tensor& y) { return x.is_same(y); });
}

// Modules make the slopes of ALiBi anew; comparing them on another device would wait for it.
bool are_same_slopes(const std::vector<torch::Tensor>& a, const std::vector<torch::Tensor>& b) {
  return std::ranges::equal(a, b, [](const torch::Tensor& x, const torch::Tensor& y) {
    if (x.is_same(y)) return true;
    const bool are_constants = x.is_cpu() && y.is_cpu() && !x.requires_grad() && !y.requires_grad();
    return are_constants && x.scalar_type() == y.scalar_type() && torch::equal(x, y);
  });
}

}  // namespace

bool AttentionMask::Parts::is_same(const Parts& other) const {
  const auto same_pairs = [](const auto& a, const auto& b) {
    return a.query.is_same(b.query) && a.key.is_same(b.key);
  };
  const bool same_positions = positions.has_value() == other.positions.has_value() &&
                              (!positions.has_value() || same_pairs(*positions, *other.positions));
  return band == other.band && same_positions &&
         std::ranges::equal(segments, other.segments, same_pairs) &&
         are_same(lengths, other.lengths) && are_same(paddings, other.paddings) &&
         are_same(allowed, other.allowed) && are_same(biases, other.biases) &&
         are_same(relative_biases, other.relative_biases) && are_same_slopes(slopes, other.slopes);
}

AttentionMask::AttentionMask(Parts parts) {
  const bool is_none = parts.band.is_everything() && !parts.positions && parts.slopes.empty() &&
                       !have_tensors(parts);
  if (!is_none) parts_ = std::make_shared<const Parts>(std::move(parts));
}

AttentionMask::AttentionMask(const torch::Tensor& mask) {
  if (!mask.defined()) return;
  detail::check_rank("AttentionMask", "a mask", mask, 2, 4);
  Parts parts;
  if (mask.scalar_type() == torch::kBool) {
    parts.allowed.push_back(mask);
  } else {
    TORCH_CHECK(mask.is_floating_point(),
                "AttentionMask: expected a bool mask (true = may attend) or a floating-point bias, "
                "got dtype ",
                mask.scalar_type());
    parts.biases.push_back(mask);
  }
  parts_ = std::make_shared<const Parts>(std::move(parts));
}

const AttentionMask::Parts& AttentionMask::parts() const {
  static const Parts none;
  return parts_ == nullptr ? none : *parts_;
}

AttentionMask AttentionMask::shared_by_layers() const {
  auto result = *this;
  if (memo_ == nullptr) result.memo_ = std::make_shared<functional::MaskMemo>();
  return result;
}

AttentionMask AttentionMask::causal() { return window(Band::kAll, 0); }

AttentionMask AttentionMask::window(int64_t left, int64_t right) {
  TORCH_CHECK_VALUE(left >= 0 && right >= 0,
                    "AttentionMask::window: expected left >= 0 and right >= 0, got ", left, " and ",
                    right);
  return AttentionMask(Parts{.band = {left, right}});
}

AttentionMask AttentionMask::segments(const torch::Tensor& query_ids,
                                      const torch::Tensor& key_ids) {
  constexpr auto kName = "AttentionMask::segments";
  for (const auto& [what, ids] :
       {std::pair{"query_ids", query_ids}, std::pair{"key_ids", key_ids}}) {
    detail::check_rank(kName, what, ids, 2, 2);
    detail::check_ids(kName, what, ids);
  }
  return AttentionMask(Parts{.segments = {{query_ids, key_ids}}});
}

AttentionMask AttentionMask::alibi(const torch::Tensor& slopes) {
  detail::check_rank("AttentionMask::alibi", "slopes", slopes, 1, 1);
  TORCH_CHECK(slopes.is_floating_point(),
              "AttentionMask::alibi: expected floating-point slopes, got dtype ",
              slopes.scalar_type());
  return AttentionMask(Parts{.slopes = {slopes}});
}

AttentionMask AttentionMask::relative_bias(const torch::Tensor& bias) {
  detail::check_rank("AttentionMask::relative_bias", "bias", bias, 2, 2);
  TORCH_CHECK(bias.is_floating_point(),
              "AttentionMask::relative_bias: expected a floating-point bias, got dtype ",
              bias.scalar_type());
  return AttentionMask(Parts{.relative_biases = {bias}});
}

AttentionMask AttentionMask::key_lengths(const torch::Tensor& lengths) {
  detail::check_rank("AttentionMask::key_lengths", "lengths", lengths, 1, 1);
  detail::check_ids("AttentionMask::key_lengths", "lengths", lengths);
  return AttentionMask(Parts{.lengths = {lengths}});
}

AttentionMask AttentionMask::padding(const torch::Tensor& may_attend) {
  detail::check_rank("AttentionMask::padding", "may_attend", may_attend, 2, 2);
  TORCH_CHECK(may_attend.scalar_type() == torch::kBool,
              "AttentionMask::padding: expected may_attend of dtype Bool (true = may attend), got ",
              may_attend.scalar_type());
  return AttentionMask(Parts{.paddings = {may_attend}});
}

AttentionMask AttentionMask::positions(const torch::Tensor& query, const torch::Tensor& key) {
  constexpr auto kName = "AttentionMask::positions";
  for (const auto& [what, positions] : {std::pair{"query", query}, std::pair{"key", key}}) {
    detail::check_rank(kName, what, positions, 1, 2);
    detail::check_ids(kName, what, positions);
  }
  return AttentionMask(Parts{.positions = Parts::Positions{query, key}});
}

bool AttentionMask::has_tensors() const { return have_tensors(parts()); }

AttentionMask operator&(const AttentionMask& a, const AttentionMask& b) {
  const auto &x = a.parts(), &y = b.parts();
  TORCH_CHECK(!x.positions || !y.positions,
              "AttentionMask: expected positions in one of two joined masks, got them in both");
  auto both = x;
  if (y.positions) both.positions = y.positions;
  both.band = {std::min(x.band.left, y.band.left), std::min(x.band.right, y.band.right)};
  append(both.segments, y.segments);
  append(both.slopes, y.slopes);
  append(both.relative_biases, y.relative_biases);
  append(both.lengths, y.lengths);
  append(both.paddings, y.paddings);
  append(both.allowed, y.allowed);
  append(both.biases, y.biases);
  AttentionMask result(std::move(both));
  result.memo_ = a.memo_ != nullptr ? a.memo_ : b.memo_;
  return result;
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
